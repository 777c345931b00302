"""Private key files in OpenSSH format: users' keys, and the host key, created when the server first starts."""

import os
import re
from binascii import a2b_base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes, load_ssh_private_key

from securechat.errors import ConfigurationError
from securechat.files import OTHERS, read_bytes, replace, write_new
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.encoding import Reader
from securechat.ssh.keys import SigningKey

_ARMOR: Final = re.compile(
    rb"-----BEGIN OPENSSH PRIVATE KEY-----\s(.+?)-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)  # the same text as cryptography looks for
_MAGIC: Final = b"openssh-key-v1\0"
_PUBLIC: Final = re.compile(rb"\s*(ssh-|ecdsa-|sk-)\S+ AAAA")


class PublicKeyError(ConfigurationError):
    """The file has a public key."""


class WrongPassphraseError(ConfigurationError):
    """The passphrase does not open the key."""


def load_private_key(path: Path, passphrase: Callable[[], bytes] | None = None) -> SigningKey:
    """The Ed25519 private key in a file.

    `passphrase` is called if the file is encrypted, and the key can be used. PublicKeyError if the file has a public
    key; WrongPassphraseError; ConfigurationError if the key cannot be loaded, or if the file is accessible by others.
    """
    if _PUBLIC.match(read_bytes(path)):  # before the permissions: others may read it
        raise PublicKeyError(_("{path}: this is a public key; expected the private key").format(path=path))
    data = read_bytes(path, OTHERS)
    try:
        if _key_type(data) != keys.KEY_TYPE:
            raise _unsupported_type(path)
        key = load_ssh_private_key(data, None)
    except TypeError:  # a passphrase is needed
        key = _unlock(path, data, passphrase)
    except UnsupportedAlgorithm:  # of the encryption, since the type of the key is supported
        text = _("{path}: the key is encrypted with an unsupported cipher; run: ssh-keygen -p -Z aes256-ctr -f {path}")
        raise ConfigurationError(text.format(path=path)) from None
    except ValueError:
        raise _invalid(path) from None
    assert isinstance(key, Ed25519PrivateKey)  # cryptography compares the type with the one that was read above
    return SigningKey(key)


def _key_type(data: bytes) -> bytes:
    """The type of a private key, which is not encrypted (OpenSSH, PROTOCOL.key); ValueError."""
    armored = _ARMOR.search(data)
    binary = a2b_base64(armored[1]) if armored is not None else b""
    if not binary.startswith(_MAGIC):
        raise ValueError("not an OpenSSH private key")
    header = Reader(binary[len(_MAGIC) :])
    _cipher, _kdf, _kdf_options, _count = header.string(), header.string(), header.string(), header.uint32()
    return Reader(header.string()).string()


def _unlock(path: Path, data: bytes, passphrase: Callable[[], bytes] | None) -> SSHPrivateKeyTypes:
    if passphrase is None:
        raise ConfigurationError(
            _("{path}: the key has a passphrase; remove it with: ssh-keygen -p -f {path}").format(path=path)
        )
    entered = passphrase()
    try:
        return load_ssh_private_key(data, entered)
    except (ValueError, TypeError, InvalidTag):  # wrong; empty; wrong, with an authenticated cipher
        raise WrongPassphraseError(_("{path}: incorrect passphrase").format(path=path)) from None


def _unsupported_type(path: Path) -> ConfigurationError:
    text = _("{path}: only Ed25519 keys are supported; create one with: ssh-keygen -t ed25519")
    return ConfigurationError(text.format(path=path))


def _invalid(path: Path) -> ConfigurationError:
    text = _("{path}: not an Ed25519 private key in OpenSSH format; create one with: ssh-keygen -t ed25519")
    return ConfigurationError(text.format(path=path))


def load_successor(path: Path, host_key: SigningKey) -> SigningKey:
    """The key that will replace a host key; ConfigurationError. It is not created: all servers need the same one."""
    key = load_private_key(path)
    if key.blob == host_key.blob:
        raise ConfigurationError(_("{path}: this is the present host key; expected the next one").format(path=path))
    return key


def load_or_create_host_key(path: Path) -> SigningKey:
    """The server's host key. If the file does not exist, it is created, and the public key next to it in ``.pub``.

    ConfigurationError.
    """
    if not os.path.lexists(path):  # unlike Path.exists, False also if access is denied: write_new reports it
        key = SigningKey.generate()
        with suppress(FileExistsError):  # created by another daemon in the meantime
            write_new(path, key.private_bytes(), 0o600)
            public = f"{keys.public_line(key.blob)}\n".encode()
            replace(path.with_name(path.name + ".pub"), public, 0o644)
            return key
    return load_private_key(path)
