"""The API key, and the environment variables with which programs find the local API."""

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

import platformdirs

from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError
from securechat.files import read_secret, write_new
from securechat.i18n import _
from securechat.settings import default_path

_KEY_SIZE: Final = 32  # random bytes
_KEY_PREFIX: Final = "sc-"  # so that no program takes it for an option, as it might if it began with a hyphen
_ANY_KEY: Final = "none"  # programs require a key also if the API does not


def key_path(settings: ClientSettings) -> Path:
    """The file with the API key; ConfigurationError if there is no place for it."""
    if settings.serve_key_file is not None:
        return settings.serve_key_file
    return default_path(platformdirs.user_state_path, "serve-key-file") / "api_key"


def load_key(settings: ClientSettings) -> str | None:
    """The API key, None if none is required. The default file is made if it does not exist. ConfigurationError."""
    if settings.serve_open:
        return None
    path = key_path(settings)
    if settings.serve_key_file is None and not path.exists():
        key = _KEY_PREFIX + secrets.token_urlsafe(_KEY_SIZE)
        with suppress(FileExistsError):  # another client has just made it
            write_new(path, f"{key}\n".encode(), 0o600)
    key = read_secret(path)
    if len(key.split()) != 1:
        raise ConfigurationError(_("{path}: an API key contains no spaces").format(path=path))
    return key


def is_logged(environ: Mapping[str, str]) -> bool:
    """Whether systemd's journal gets standard output.

    The variable names the stream of standard error if there are two. Programs that a service starts inherit it, also
    when their own output goes elsewhere.
    """
    journal = environ.get("JOURNAL_STREAM")
    return journal is not None and not sys.stdout.isatty() and journal in map(_stream_of, (sys.stdout, sys.stderr))


def _stream_of(stream: TextIO) -> str:
    """The device and inode of a stream, as systemd writes them; empty if it has no descriptor."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def print_environment(settings: ClientSettings, key: str | None, *, is_logged: bool = False) -> None:
    """Print commands for the shell of a program that uses the API with this key.

    A log gets a command that reads the key instead of the key.
    """
    assert settings.serve is not None
    quoted = shlex.quote(key or _ANY_KEY)
    if key is not None and is_logged:
        quoted = f'"$(cat {shlex.quote(str(key_path(settings)))})"'
    print(f"export OPENAI_BASE_URL={shlex.quote(settings.serve.base_url)}")
    print(f"export OPENAI_API_KEY={quoted}")
