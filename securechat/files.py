"""Reading and writing small files of keys: bounded, with clear errors, and never half written."""

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.i18n import _

MAX_SIZE: Final = 1024 * 1024  # bytes; a file of keys is far smaller, and /dev/zero has no end
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    problem = os.strerror(error.errno or errno.EIO)
    return ConfigurationError(_("{path}: {problem}").format(path=path, problem=problem))


def _open_at_once(path: str, flags: int) -> int:
    """Opening a FIFO would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_bytes(path: Path, forbidden_mode: int = 0) -> bytes:
    """A regular file's content; ConfigurationError if unreadable, too large or of a forbidden mode."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(_("{path}: not a regular file").format(path=path))
            if status.st_mode & forbidden_mode:
                raise _open_to_others(path, status.st_mode, forbidden_mode)
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _unusable(path, error) from None
    if len(data) > MAX_SIZE:
        raise ConfigurationError(_("{path}: more than {size} bytes").format(path=path, size=MAX_SIZE))
    return data


def _open_to_others(path: Path, mode: int, forbidden: int) -> ConfigurationError:
    text = (
        _("{path}: others may use this file (mode {mode:04o}); run: chmod 600 {path}")
        if forbidden == OTHERS
        else _("{path}: others may change this file (mode {mode:04o}); run: chmod go-w {path}")
    )
    return ConfigurationError(text.format(path=path, mode=stat.S_IMODE(mode)))


def read_lines(path: Path, forbidden_mode: int = 0) -> Iterator[tuple[int, str]]:
    """The stripped lines of a text file, each with its number; ConfigurationError as for `read_bytes`."""
    for number, line in enumerate(read_bytes(path, forbidden_mode).split(b"\n"), 1):
        try:
            text = line.decode()
            if "\0" in text:
                raise ValueError
        except ValueError:
            problem = _("{path}:{line}: not text in UTF-8").format(path=path, line=number)
            raise ConfigurationError(problem) from None
        yield number, text.strip()


def read_text(path: Path) -> str:
    """A whole file of UTF-8; ConfigurationError if it is none."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(_("{path}:{line}: not text in UTF-8").format(path=path, line=line)) from None


def read_secret(path: Path) -> str:
    """A key or password that stands alone in a file; ConfigurationError if others can read it, or it is none."""
    try:
        secret = read_bytes(path, OTHERS).decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret.isprintable() or not secret:
        raise ConfigurationError(_("{path}: one line of ASCII is wanted").format(path=path))
    return secret


def make_private_directory(path: Path) -> None:
    """Make a directory, for its owner only, and those above it; one that is there is taken as it is."""
    try:
        # Not with parents=True, which would give those above whatever the umask allows.
        for directory in (*reversed(path.parents), path):
            directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from None


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, whole or not at all.

    ConfigurationError; FileExistsError if it is there.
    """
    _write(path, data, mode, os.link)  # unlike a rename, it takes no file's place


def replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file, whole or not at all, in the place of one that may be there. ConfigurationError."""
    _write(path, data, mode, os.replace)


def _write(path: Path, data: bytes, mode: int, put: Callable[[str, Path], None]) -> None:
    make_private_directory(path.parent)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        put(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unusable(path, error) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, private if it is new. Two that append at once both get their line in."""
    make_private_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # what is taken back below is then never another client's line
            size = os.fstat(descriptor).st_size
            ended = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            data = (("" if ended else "\n") + line + "\n").encode()
            written = file.write(data)
            if written != len(data):
                os.ftruncate(descriptor, file.tell() - written)  # not to `size`: ssh, too, appends, and takes no lock
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
    except OSError as error:
        raise _unusable(path, error) from None
