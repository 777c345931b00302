"""Private keys on disk, in OpenSSH's format: a user's, and the server's own, made at its first start."""

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
    """The Ed25519 key in a file made by ``ssh-keygen -t ed25519``.

    `passphrase` is called if the file is encrypted. ConfigurationError if the key cannot be had, or if
    others can have it too.
    """
    data = read_bytes(path, OTHERS)
    try:
        key = load_ssh_private_key(data, None)
    except TypeError:  # a passphrase is needed
        key = _unlock(path, data, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        raise _not_ours(path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_ours(path)
    return SigningKey(key)


def _unlock(path: Path, data: bytes, passphrase: Callable[[], bytes] | None) -> SSHPrivateKeyTypes:
    if passphrase is None:
        raise ConfigurationError(
            _("{path}: the key has a passphrase; remove it with: ssh-keygen -p -f {path}").format(path=path)
        )
    entered = passphrase()
    try:
        return load_ssh_private_key(data, entered)
    except (ValueError, TypeError, InvalidTag):  # wrong; empty; wrong, of a cipher that authenticates
        raise ConfigurationError(_("{path}: wrong passphrase").format(path=path)) from None


def _not_ours(path: Path) -> ConfigurationError:
    text = _("{path}: not an Ed25519 private key in OpenSSH's format; make one with: ssh-keygen -t ed25519")
    return ConfigurationError(text.format(path=path))


def load_or_create_host_key(path: Path) -> SigningKey:
    """The server's key; if there is none, a new one, with ``.pub`` beside it as ssh-keygen does."""
    if not os.path.lexists(path):  # unlike Path.exists, False also where one may not look: write_new says why
        key = SigningKey.generate()
        with suppress(FileExistsError):  # another daemon was faster
            write_new(path, key.private_bytes(), 0o600)
            public = f"{keys.public_line(key.blob)}\n".encode()
            replace(path.with_name(path.name + ".pub"), public, 0o644)
            return key
    return load_private_key(path)
