"""Reading, writing and appending to small files."""

import errno
import fcntl
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import (
    MAX_LIST_SIZE,
    MAX_SIZE,
    OTHERS,
    OTHERS_WRITE,
    append_line,
    make_private_directory,
    read_bytes,
    read_lines,
    read_secret,
    replace,
    write_new,
)

FULL = Path("/dev/full")  # every write fails because the disk is full


def with_file_size_limit(limit: int, call: Callable[[], object]) -> None:
    """Call with a limit on the size of files, as if the disk were full at that size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class FileTests(SynchronousTestCase):
    """A directory with a file."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "file"

    def write(self, data: bytes, mode: int = 0o600) -> Path:
        self.path.write_bytes(data)
        self.path.chmod(mode)
        return self.path

    def assertRefused(self, problem: str, call: Callable[[], object]) -> None:
        """The call raises a ConfigurationError whose message is one line with `problem`."""
        message = str(self.assertRaises(ConfigurationError, call))
        self.assertIn(problem, message)
        self.assertNotIn("\n", message)


class ReadBytesTests(FileTests):
    """Reading a whole file."""

    def test_content(self) -> None:
        """A file is returned unchanged, up to and including MAX_SIZE."""
        for data in (b"", b"a\r\n\0", bytes(MAX_SIZE)):
            self.assertEqual(read_bytes(self.write(data)), data)

    def test_tooLarge(self) -> None:
        """A file that is one byte larger than MAX_SIZE is rejected."""
        self.write(bytes(MAX_SIZE + 1))
        self.assertRefused(f"{self.path}: larger than the limit of 1 MiB", lambda: read_bytes(self.path))

    def test_largeList(self) -> None:
        """A list of keys may be larger; the message names the limit that applies."""
        self.write(bytes(MAX_LIST_SIZE))
        self.assertEqual(len(read_bytes(self.path, max_size=MAX_LIST_SIZE)), MAX_LIST_SIZE)
        self.write(bytes(MAX_LIST_SIZE + 1))
        self.assertRefused("larger than the limit of 4 MiB", lambda: read_bytes(self.path, max_size=MAX_LIST_SIZE))

    def test_missing(self) -> None:
        """A missing file is an error with its path."""
        self.assertRefused(f"{self.path}: No such file", lambda: read_bytes(self.path))

    def test_directory(self) -> None:
        """A directory is rejected, and its descriptor closed."""
        before = os.listdir("/proc/self/fd")
        self.assertRefused("Is a directory", lambda: read_bytes(self.directory))
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_notRegular(self) -> None:
        """A device, a socket, and a FIFO without a writer are rejected without blocking."""
        os.mkfifo(self.path)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.directory / "socket"))
        for path in (Path("/dev/zero"), self.directory / "socket", self.path):
            self.assertRefused("not a regular file", lambda path=path: read_bytes(path))  # type: ignore[misc]

    def test_accessibleByOthers(self) -> None:
        """A private file with any permission for group or others is rejected; the message says how to correct it."""
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.write(b"", 0o600 | bit)
            self.assertRefused(f"chmod 600 {self.path}", lambda: read_bytes(self.path, OTHERS))

    def test_writableByOthers(self) -> None:
        """A file that must not be writable by others may be readable."""
        self.assertEqual(read_bytes(self.write(b"x", 0o644), OTHERS_WRITE), b"x")
        for bit in (0o020, 0o002):
            self.write(b"", 0o644 | bit)
            self.assertRefused(f"chmod go-w {self.path}", lambda: read_bytes(self.path, OTHERS_WRITE))

    def test_ofAnotherUser(self) -> None:
        """A private file of another user is accepted with any mode, as in OpenSSH: a container cannot change it."""
        self.patch(os, "geteuid", lambda: self.path.stat().st_uid + 1)
        for mode in (0o400, 0o440, 0o444, 0o640, 0o644, 0o660, 0o777):
            self.assertEqual(read_bytes(self.write(b"x", mode | 0o400), OTHERS), b"x")

    def test_listOfAnotherUser(self) -> None:
        """A list of keys of another user may be writable by its group, but not by everyone."""
        self.patch(os, "geteuid", lambda: self.path.stat().st_uid + 1)
        self.assertEqual(read_bytes(self.write(b"x", 0o664), OTHERS_WRITE), b"x")
        self.write(b"x", 0o666)
        self.assertRefused(
            f"0666 are too open; its owner must run: chmod o-w {self.path}",
            lambda: read_bytes(self.path, OTHERS_WRITE),
        )

    def test_permissionDenied(self) -> None:
        """A file that cannot be read is an error that says who has to be able to read it, or how to correct that."""

        def deny(*arguments: object) -> int:
            raise PermissionError(errno.EACCES, "in words that depend on the language")

        self.write(b"x")
        self.patch(os, "open", deny)
        self.assertRefused(f"Permission denied; run: chmod u+r {self.path}", lambda: read_bytes(self.path))
        for uid, name in ((0, "root"), (2**31 - 5, str(2**31 - 5))):
            self.patch(os, "geteuid", lambda uid=uid: uid)
            self.patch(Path, "stat", lambda path: os.stat_result([0] * 4 + [7] + [0] * 5))
            self.assertRefused(f"Permission denied; user {name} must be able to read it", lambda: read_bytes(self.path))

    def test_privateFile(self) -> None:
        """A file that only its owner can access is accepted."""
        for mode in (0o600, 0o400):
            self.assertEqual(read_bytes(self.write(b"x", mode), OTHERS), b"x")


class ReadLinesTests(FileTests):
    """Reading a file line by line."""

    def test_numbers(self) -> None:
        """Lines are numbered from one, including empty ones, and stripped."""
        self.write("a\r\n\n \tß \n".encode())
        self.assertEqual(list(read_lines(self.path)), [(1, "a"), (2, ""), (3, "ß"), (4, "")])

    def test_byteOrderMark(self) -> None:
        """A byte order mark at the beginning of a file is not part of its first line."""
        self.write(b"\xef\xbb\xbf# a\nb")
        self.assertEqual(list(read_lines(self.path)), [(1, "# a"), (2, "b")])

    def test_otherLineBreaks(self) -> None:
        """A line break that does not end a line is rejected: what follows it could be hidden by a comment."""
        for line_break in ("\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"):
            self.write(f"fine\r\n# comment{line_break}line\n".encode())
            self.assertRefused(f"{self.path}:2: a line break other than LF", lambda: list(read_lines(self.path)))

    def test_notText(self) -> None:
        """Invalid UTF-8 and NUL are rejected, with the line number."""
        for line in (b"\xff", b"a\0b", b"\xed\xa0\x80"):
            self.write(b"fine\n" + line)
            self.assertRefused(f"{self.path}:2: not valid UTF-8", lambda: list(read_lines(self.path)))

    def test_mode(self) -> None:
        """Permissions are checked."""
        self.write(b"", 0o666)
        self.assertRefused("chmod go-w", lambda: list(read_lines(self.path, OTHERS_WRITE)))


class ReadSecretTests(FileTests):
    """Reading a password or API key."""

    def test_content(self) -> None:
        """White space around the secret is removed."""
        self.assertEqual(read_secret(self.write(b" s3cret\r\n")), "s3cret")

    def test_byteOrderMark(self) -> None:
        """A byte order mark is not part of the secret."""
        self.assertEqual(read_secret(self.write(b"\xef\xbb\xbfs3cret\r\n")), "s3cret")

    def test_invalid(self) -> None:
        """An empty file, several lines and other characters are rejected; the message does not contain the content."""
        for data in (b"", b"\n", b"s3cret\nmore", b"s3cret\0", "s3cret\u00fc".encode(), b"s3cret\xff"):
            self.write(data)
            self.assertRefused("one line of ASCII", lambda: read_secret(self.path))
            self.assertNotIn("s3cret", str(self.assertRaises(ConfigurationError, read_secret, self.path)))

    def test_mode(self) -> None:
        """A secret that is readable by others is rejected."""
        self.write(b"s3cret", 0o640)
        self.assertRefused(f"chmod 600 {self.path}", lambda: read_secret(self.path))


class MakePrivateDirectoryTests(FileTests):
    """Directories for private files."""

    def test_mode(self) -> None:
        """A new directory and its new parents have mode 0700."""
        self.addCleanup(os.umask, os.umask(0))
        make_private_directory(self.path / "below")
        for path in (self.path, self.path / "below"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)

    def test_existing(self) -> None:
        """An existing directory keeps its mode."""
        self.directory.chmod(0o755)
        make_private_directory(self.directory)
        self.assertEqual(self.directory.stat().st_mode & 0o777, 0o755)

    def test_notADirectory(self) -> None:
        """A file in place of the directory, or of its parent, is an error with the path."""
        self.write(b"")
        self.assertRefused("File exists", lambda: make_private_directory(self.path))
        self.assertRefused("File exists", lambda: make_private_directory(self.path / "below"))


class WriteNewTests(FileTests):
    """Creating a file."""

    def test_modeWhateverTheUmask(self) -> None:
        """A file has the requested mode, whatever the umask, and no temporary file is left."""
        for umask, mode in ((0, 0o600), (0o077, 0o644)):
            path = self.directory / f"{mode:o}" / "file"
            self.addCleanup(os.umask, os.umask(umask))
            write_new(path, b"data", mode)
            self.assertEqual(path.read_bytes(), b"data")
            self.assertEqual(path.stat().st_mode & 0o777, mode)
            self.assertEqual(os.listdir(path.parent), ["file"])

    def test_existing(self) -> None:
        """An existing file is not replaced, and neither is a dangling symbolic link."""
        self.write(b"old")
        link = self.directory / "link"
        link.symlink_to("nowhere")
        for path in (self.path, link):
            self.assertRaises(FileExistsError, write_new, path, b"new", 0o600)
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "link"])

    def test_diskFull(self) -> None:
        """If the disk is full, no partial or temporary file is left."""
        self.assertRefused(
            f"{self.path}: File too large",
            lambda: with_file_size_limit(2, lambda: write_new(self.path, b"data", 0o600)),
        )
        self.assertEqual(os.listdir(self.directory), [])

    def test_noTemporaryFile(self) -> None:
        """If no temporary file can be created, the error has the path of the requested file."""
        path = self.directory / ("x" * 300)
        self.assertRefused(f"{path}: File name too long", lambda: write_new(path, b"data", 0o600))


class ReplaceTests(FileTests):
    """Replacing a file."""

    def test_inPlace(self) -> None:
        """A file is created or replaced with the requested mode, and no temporary file is left."""
        for _time in range(2):
            replace(self.path, b"new", 0o644)
            self.assertEqual(self.path.read_bytes(), b"new")
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)
            self.assertEqual(os.listdir(self.directory), ["file"])
            self.write(b"old")

    def test_diskFull(self) -> None:
        """If the disk is full, the old file is kept."""
        self.write(b"old")
        self.assertRefused(
            "File too large",
            lambda: with_file_size_limit(2, lambda: replace(self.path, b"data", 0o600)),
        )
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(os.listdir(self.directory), ["file"])


class AppendLineTests(FileTests):
    """Appending a line."""

    def test_newFile(self) -> None:
        """A new file has mode 0600, and its directory mode 0700."""
        self.addCleanup(os.umask, os.umask(0))
        path = self.directory / "new" / "file"
        append_line(path, "ü")
        self.assertEqual(path.read_bytes(), "ü\n".encode())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)

    def test_existing(self) -> None:
        """The content and the mode are kept, and a missing newline at the end is added."""
        for before in (b"# a\n", b"# a"):
            self.write(before, 0o640)
            append_line(self.path, "b")
            self.assertEqual(self.path.read_bytes(), b"# a\nb\n")
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)

    def test_twice(self) -> None:
        """A line that the file has already is not added again, if it is to be there once."""
        self.write(b"# a\r\nb")
        for line in ("b", "# a", "c", "c"):
            append_line(self.path, line, once=True)
        self.assertEqual(self.path.read_bytes(), b"# a\r\nb\nc\n")
        append_line(self.path, "c")
        self.assertEqual(self.path.read_bytes(), b"# a\r\nb\nc\nc\n")

    def test_partialLine(self) -> None:
        """A line that was written only in part is removed."""
        self.write(b"old\n")
        self.assertRefused(
            "No space left",
            lambda: with_file_size_limit(6, lambda: append_line(self.path, "new")),
        )
        self.assertEqual(self.path.read_bytes(), b"old\n")

    def test_partialLineAfterAnother(self) -> None:
        """Removing a partial line keeps a line that another process appended before it."""
        self.write(b"old\n")
        pread = os.pread

        def look(descriptor: int, size: int, offset: int) -> bytes:
            with self.path.open("ab") as file:
                file.write(b"other\n")
            return pread(descriptor, size, offset)

        self.patch(os, "pread", look)
        self.assertRefused(
            "No space left",
            lambda: with_file_size_limit(12, lambda: append_line(self.path, "new")),
        )
        self.assertEqual(self.path.read_bytes(), b"old\nother\n")

    def test_lock(self) -> None:
        """The file is locked from reading its end to writing."""
        self.write(b"old")
        pread = os.pread

        def look(descriptor: int, size: int, offset: int) -> bytes:
            with self.path.open("ab") as file:
                self.assertRaises(BlockingIOError, fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return pread(descriptor, size, offset)

        self.patch(os, "pread", look)
        append_line(self.path, "new")
        self.assertEqual(self.path.read_bytes(), b"old\nnew\n")

    def test_diskFull(self) -> None:
        """A full disk is an error with the path."""
        self.assertRefused(f"{FULL}: No space left", lambda: append_line(FULL, "line"))

    def test_directory(self) -> None:
        """A directory is rejected."""
        self.assertRefused("Is a directory", lambda: append_line(self.directory, "line"))
