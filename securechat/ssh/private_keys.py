"""Private key files in OpenSSH format: users' keys, and the host key, created when the server first starts."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes, load_ssh_private_key

from securechat.errors import ConfigurationError
from securechat.files import OTHERS, read_bytes, replace, write_new
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.keys import SigningKey


def load_private_key(path: Path, passphrase: Callable[[], bytes] | None = None) -> SigningKey:
    """The Ed25519 private key in a file.

    `passphrase` is called if the file is encrypted. ConfigurationError if the key cannot be loaded, or if the file is
    accessible by others.
    """
    data = read_bytes(path, OTHERS)
    try:
        key = load_ssh_private_key(data, None)
    except TypeError:  # a passphrase is needed
        key = _unlock(path, data, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid(path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid(path)
    return SigningKey(key)


def _unlock(path: Path, data: bytes, passphrase: Callable[[], bytes] | None) -> SSHPrivateKeyTypes:
    if passphrase is None:
        raise ConfigurationError(
            _("{path}: the key has a passphrase; remove it with: ssh-keygen -p -f {path}").format(path=path)
        )
    entered = passphrase()
    try:
        return load_ssh_private_key(data, entered)
    except (ValueError, TypeError, InvalidTag):  # wrong; empty; wrong, with an authenticated cipher
        raise ConfigurationError(_("{path}: incorrect passphrase").format(path=path)) from None


def _invalid(path: Path) -> ConfigurationError:
    text = _("{path}: not an Ed25519 private key in OpenSSH format; create one with: ssh-keygen -t ed25519")
    return ConfigurationError(text.format(path=path))


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
