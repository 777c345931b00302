"""Reading and writing small files: with a size limit, checks of permissions, and atomic replacement."""

import codecs
import errno
import fcntl
import os
import pwd
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.i18n import _

MAX_SIZE: Final = 1024 * 1024  # bytes; far more than a key, a password or a system prompt has
MAX_LIST_SIZE: Final = 4 * MAX_SIZE  # of a list of keys: some 40,000, which are parsed in a tenth of a second
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    problem = os.strerror(error.errno or errno.EIO)
    return ConfigurationError(_("{path}: {problem}").format(path=path, problem=problem))


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    """The error of a file that cannot be opened or read."""
    if error.errno == errno.ENXIO:  # a socket, or a device without a driver
        return _not_regular(path)
    if error.errno != errno.EACCES:
        return _unusable(path, error)
    problem = os.strerror(errno.EACCES)
    if _is_own(path):
        text = _("{path}: {problem}; run: chmod u+r {path}")
        return ConfigurationError(text.format(path=path, problem=problem))
    text = _("{path}: {problem}; user {user} must be able to read it, for example through its group or an ACL")
    return ConfigurationError(text.format(path=path, problem=problem, user=_user_name()))


def _not_regular(path: Path) -> ConfigurationError:
    return ConfigurationError(_("{path}: not a regular file").format(path=path))


def _is_own(path: Path) -> bool:
    """Whether a file exists in a directory that can be searched, and belongs to the user of this process."""
    with suppress(OSError):
        return path.stat().st_uid == os.geteuid()
    return False


def _user_name() -> str:
    """The name of the user of this process; its number if it has none, as in many containers."""
    with suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())


def _open_nonblocking(path: str, flags: int) -> int:
    """An opener that does not block on a FIFO without a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_bytes(path: Path, forbidden_mode: int = 0, *, max_size: int = MAX_SIZE) -> bytes:
    """The content of a regular file.

    `forbidden_mode` is 0, OTHERS for a secret, or OTHERS_WRITE for a list of keys. ConfigurationError if the file
    cannot be read, is larger than `max_size`, a multiple of 1 MiB, or has permissions that are too open.
    """
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular(path)
            _check_mode(path, status, forbidden_mode)
            data = file.read(max_size + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > max_size:
        text = _("{path}: larger than the limit of {size} MiB")
        raise ConfigurationError(text.format(path=path, size=max_size // 2**20))
    return data


def _check_mode(path: Path, status: os.stat_result, forbidden: int) -> None:
    """ConfigurationError if the permissions of a file are too open.

    As in OpenSSH, the mode of a secret is checked only if it belongs to the user of this process. Another user's secret
    has been shared with this process on purpose, through its group or an ACL, or the process is root's. Another user's
    list of keys must not be writable by everyone.
    """
    is_own = status.st_uid == os.geteuid()
    if not is_own:
        forbidden = stat.S_IWOTH if forbidden == OTHERS_WRITE else 0
    if not status.st_mode & forbidden:
        return
    mode = stat.S_IMODE(status.st_mode)
    if not is_own:
        text = _("{path}: permissions {mode:04o} are too open; its owner must run: chmod o-w {path}")
        raise ConfigurationError(text.format(path=path, mode=mode))
    command = "chmod 600" if forbidden == OTHERS else "chmod go-w"
    text = _("{path}: permissions {mode:04o} are too open; run: {command} {path}")
    raise ConfigurationError(text.format(path=path, mode=mode, command=command))


def read_lines(path: Path, forbidden_mode: int = 0, *, max_size: int = MAX_SIZE) -> Iterator[tuple[int, str]]:
    """The lines of a text file, stripped, with their numbers; ConfigurationError as for `read_bytes`."""
    return lines_of(read_bytes(path, forbidden_mode, max_size=max_size), path)


def lines_of(data: bytes, path: Path) -> Iterator[tuple[int, str]]:
    """The lines in the content of a text file, as for `read_lines`; ConfigurationError, which names the path.

    Lines end in LF or CR LF. Any other line break is an error, because a line behind it would seem to be part of the
    one before it, for instance of a comment. A byte order mark, with which some editors begin a file, is removed.
    """
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            text = line.decode()
            if "\0" in text:
                raise ValueError
        except ValueError:
            raise _not_utf8(path, number) from None
        text = text.strip()
        if len(text.splitlines()) > 1:
            raise ConfigurationError(
                _("{path}:{line}: a line break other than LF or CR LF").format(path=path, line=number)
            )
        yield number, text


def read_text(path: Path) -> str:
    """The content of a UTF-8 file; ConfigurationError as for `read_bytes`, or if it is not valid UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, line) from None


def _not_utf8(path: Path, line: int) -> ConfigurationError:
    return ConfigurationError(_("{path}:{line}: not valid UTF-8").format(path=path, line=line))


def read_secret(path: Path) -> str:
    """The password or API key in a file that contains nothing else.

    ConfigurationError if the file is accessible by others, or is not one line of printable ASCII.
    """
    try:
        secret = read_bytes(path, OTHERS).removeprefix(codecs.BOM_UTF8).decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret.isprintable() or not secret:
        raise ConfigurationError(_("{path}: expected one line of ASCII text").format(path=path))
    return secret


def make_private_directory(path: Path) -> None:
    """Create a directory and its parents with mode 0700; existing ones are left as they are. ConfigurationError."""
    try:
        # With parents=True, mkdir would create the parents with the default mode.
        for directory in (*reversed(path.parents), path):
            directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from None


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Create a file atomically; FileExistsError if it exists, ConfigurationError if it cannot be written."""
    _write(path, data, mode, os.link)  # unlike a rename, does not replace an existing file


def replace(path: Path, data: bytes, mode: int) -> None:
    """Create a file, or replace an existing one, atomically; ConfigurationError if it cannot be written."""
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


def append_line(path: Path, line: str, *, once: bool = False) -> None:
    """Append a line to a file, with `once` unless it has this line; ConfigurationError.

    The file is created with mode 0600 if it does not exist. Concurrent calls, also of other processes, each append a
    whole line.
    """
    make_private_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            # So that the truncation below cannot remove another client's line, and none is added twice
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            length = MAX_LIST_SIZE if once else 1
            before = os.pread(descriptor, length, max(0, size - length)) if size else b""
            if once and line.encode() in map(bytes.strip, before.split(b"\n")):
                return
            ended = size == 0 or before.endswith(b"\n")
            data = (("" if ended else "\n") + line + "\n").encode()
            written = file.write(data)
            if written != len(data):
                os.ftruncate(descriptor, file.tell() - written)  # not to `size`: ssh appends too, without a lock
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
    except OSError as error:
        raise _unusable(path, error) from None
