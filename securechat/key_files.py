"""Private keys on disk, in OpenSSH's format: a user's, and the server's own, made at its first start."""

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from securechat import keys
from securechat.errors import ConfigurationError
from securechat.files import OTHERS, read_bytes, write_new
from securechat.i18n import _
from securechat.keys import SigningKey


def load_private_key(path: Path, passphrase: Callable[[], bytes] | None = None) -> SigningKey:
    """The Ed25519 key in a file made by ``ssh-keygen -t ed25519``.

    `passphrase` is called if the file is encrypted. ConfigurationError if the key cannot be had, or others can have
    it too.
    """
    data = read_bytes(path, OTHERS)
    try:
        return _load(data, None)
    except TypeError:  # a passphrase is needed
        if passphrase is None:
            raise ConfigurationError(_("{path}: the key has a passphrase").format(path=path)) from None
    except ValueError as error:
        raise _malformed(path) from error
    try:
        return _load(data, passphrase())
    except ValueError:
        raise ConfigurationError(_("{path}: wrong passphrase").format(path=path)) from None


def _malformed(path: Path) -> ConfigurationError:
    return ConfigurationError(
        _("{path}: not an Ed25519 private key in OpenSSH's format; make one with: ssh-keygen -t ed25519").format(
            path=path
        )
    )


def _load(data: bytes, passphrase: bytes | None) -> SigningKey:
    """ValueError if it is no key of ours, or the passphrase is wrong; TypeError if one is needed."""
    try:
        key = load_ssh_private_key(data, passphrase)
    except UnsupportedAlgorithm:
        raise ValueError from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError
    signing_key = SigningKey(key)
    keys.check_blob(signing_key.blob)
    return signing_key


def load_or_create_host_key(path: Path) -> tuple[SigningKey, bool]:
    """The server's key, and whether it was made just now (with ``.pub`` beside it, as ssh-keygen does)."""
    if not path.exists():
        key = SigningKey.generate()
        try:
            write_new(path, key.private_bytes(), 0o600)
            write_new(path.with_name(path.name + ".pub"), f"{keys.public_line(key.blob)}\n".encode(), 0o644)
            return key, True
        except FileExistsError:
            pass  # another daemon was faster, or an old .pub lies there: the private key is what counts
    return load_private_key(path), False
