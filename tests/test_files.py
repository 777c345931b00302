"""Small files on a real disk: read with bounds, written whole or not at all."""

import fcntl
import os
import resource
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import (
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

FULL = Path("/dev/full")  # every write to it says that the disk is full


def with_file_size_limit(limit: int, call: Callable[[], object]) -> None:
    """Call with no file allowed to grow beyond `limit` bytes, as on a disk that is full by then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class FileTests(SynchronousTestCase):
    """What every test here needs."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "file"

    def write(self, data: bytes, mode: int = 0o600) -> Path:
        self.path.write_bytes(data)
        self.path.chmod(mode)
        return self.path

    def assertRefused(self, problem: str, call: Callable[[], object]) -> None:
        """A ConfigurationError of one line that has `problem` in it."""
        message = str(self.assertRaises(ConfigurationError, call))
        self.assertIn(problem, message)
        self.assertNotIn("\n", message)


class ReadBytesTests(FileTests):
    """What may be read, and how much of it."""

    def test_content(self) -> None:
        """A file is read as it is, up to and including the limit."""
        for data in (b"", b"a\r\n\0", bytes(MAX_SIZE)):
            self.assertEqual(read_bytes(self.write(data)), data)

    def test_tooLarge(self) -> None:
        """One byte more than the limit is refused."""
        self.write(bytes(MAX_SIZE + 1))
        self.assertRefused("larger than 1048576 bytes", lambda: read_bytes(self.path))

    def test_missing(self) -> None:
        """The message names the file that is not there."""
        self.assertRefused(f"{self.path}: No such file", lambda: read_bytes(self.path))

    def test_directory(self) -> None:
        """A directory is refused."""
        before = os.listdir("/proc/self/fd")
        self.assertRefused("Is a directory", lambda: read_bytes(self.directory))
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_notRegular(self) -> None:
        """A device without end, and a FIFO that nobody writes to, are refused at once."""
        os.mkfifo(self.path)
        for path in (Path("/dev/zero"), self.path):
            self.assertRefused("not a regular file", lambda path=path: read_bytes(path))  # type: ignore[misc]

    def test_openToOthers(self) -> None:
        """Any permission of group or others is enough to refuse a private file; the message says the cure."""
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.write(b"", 0o600 | bit)
            self.assertRefused(f"chmod 600 {self.path}", lambda: read_bytes(self.path, OTHERS))

    def test_writableByOthers(self) -> None:
        """A file that only must not be changed may be read by all, but not written."""
        self.assertEqual(read_bytes(self.write(b"x", 0o644), OTHERS_WRITE), b"x")
        for bit in (0o020, 0o002):
            self.write(b"", 0o644 | bit)
            self.assertRefused(f"chmod go-w {self.path}", lambda: read_bytes(self.path, OTHERS_WRITE))

    def test_privateFile(self) -> None:
        """A file for its owner only passes every check."""
        for mode in (0o600, 0o400):
            self.assertEqual(read_bytes(self.write(b"x", mode), OTHERS), b"x")


class ReadLinesTests(FileTests):
    """Text, line by line."""

    def test_numbers(self) -> None:
        """Lines are counted from one, empty ones too, and lose the white space around them."""
        self.write("a\r\n\n \tß \n".encode())
        self.assertEqual(list(read_lines(self.path)), [(1, "a"), (2, ""), (3, "ß"), (4, "")])

    def test_notText(self) -> None:
        """What is not UTF-8, or holds a NUL, is refused with its line's number."""
        for line in (b"\xff", b"a\0b", b"\xed\xa0\x80"):
            self.write(b"fine\n" + line)
            self.assertRefused(f"{self.path}:2: not valid UTF-8", lambda: list(read_lines(self.path)))

    def test_mode(self) -> None:
        """The permissions are checked as for bytes."""
        self.write(b"", 0o666)
        self.assertRefused("chmod go-w", lambda: list(read_lines(self.path, OTHERS_WRITE)))


class ReadSecretTests(FileTests):
    """A key that stands alone in a file."""

    def test_content(self) -> None:
        """White space around it does not belong to it."""
        self.assertEqual(read_secret(self.write(b" s3cret\r\n")), "s3cret")

    def test_none(self) -> None:
        """Nothing, several lines, and what is not ASCII are refused, and not repeated."""
        for data in (b"", b"\n", b"s3cret\nmore", b"s3cret\0", "s3cret\u00fc".encode(), b"s3cret\xff"):
            self.write(data)
            self.assertRefused("one line of ASCII", lambda: read_secret(self.path))
            self.assertNotIn("s3cret", str(self.assertRaises(ConfigurationError, read_secret, self.path)))

    def test_mode(self) -> None:
        """A secret that others can read is none."""
        self.write(b"s3cret", 0o640)
        self.assertRefused(f"chmod 600 {self.path}", lambda: read_secret(self.path))


class MakePrivateDirectoryTests(FileTests):
    """Directories for keys."""

    def test_mode(self) -> None:
        """A new directory is for its owner only, and so are those above it that were not there."""
        self.addCleanup(os.umask, os.umask(0))
        make_private_directory(self.path / "below")
        for path in (self.path, self.path / "below"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)

    def test_existing(self) -> None:
        """A directory that is there keeps its permissions."""
        self.directory.chmod(0o755)
        make_private_directory(self.directory)
        self.assertEqual(self.directory.stat().st_mode & 0o777, 0o755)

    def test_fileInTheWay(self) -> None:
        """A file where a directory should be, or above it, is an error that names the path."""
        self.write(b"")
        self.assertRefused("File exists", lambda: make_private_directory(self.path))
        self.assertRefused("File exists", lambda: make_private_directory(self.path / "below"))


class WriteNewTests(FileTests):
    """A file that was not there."""

    def test_modeWhateverTheUmask(self) -> None:
        """The mode is the one asked for, and nothing else is left in the directory."""
        for umask, mode in ((0, 0o600), (0o077, 0o644)):
            path = self.directory / f"{mode:o}" / "file"
            self.addCleanup(os.umask, os.umask(umask))
            write_new(path, b"data", mode)
            self.assertEqual(path.read_bytes(), b"data")
            self.assertEqual(path.stat().st_mode & 0o777, mode)
            self.assertEqual(os.listdir(path.parent), ["file"])

    def test_existing(self) -> None:
        """A file that is there, even as a link to nowhere, is left alone."""
        self.write(b"old")
        link = self.directory / "link"
        link.symlink_to("nowhere")
        for path in (self.path, link):
            self.assertRaises(FileExistsError, write_new, path, b"new", 0o600)
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "link"])

    def test_noRoom(self) -> None:
        """When the disk is full, neither half a file nor a temporary one remains."""
        self.assertRefused(
            f"{self.path}: File too large",
            lambda: with_file_size_limit(2, lambda: write_new(self.path, b"data", 0o600)),
        )
        self.assertEqual(os.listdir(self.directory), [])

    def test_noTemporaryFile(self) -> None:
        """Where no file can be made at all, the message names the one that was wanted."""
        path = self.directory / ("x" * 300)
        self.assertRefused(f"{path}: File name too long", lambda: write_new(path, b"data", 0o600))


class ReplaceTests(FileTests):
    """A file that may have been there."""

    def test_inPlace(self) -> None:
        """The new content and mode take the place of the old, if any, and nothing else is left."""
        for _time in range(2):
            replace(self.path, b"new", 0o644)
            self.assertEqual(self.path.read_bytes(), b"new")
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)
            self.assertEqual(os.listdir(self.directory), ["file"])
            self.write(b"old")

    def test_noRoom(self) -> None:
        """When the disk is full the old file stays."""
        self.write(b"old")
        self.assertRefused(
            "File too large",
            lambda: with_file_size_limit(2, lambda: replace(self.path, b"data", 0o600)),
        )
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(os.listdir(self.directory), ["file"])


class AppendLineTests(FileTests):
    """One more line."""

    def test_newFile(self) -> None:
        """A file that was not there is private, and so is its directory."""
        self.addCleanup(os.umask, os.umask(0))
        path = self.directory / "new" / "file"
        append_line(path, "ü")
        self.assertEqual(path.read_bytes(), "ü\n".encode())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)

    def test_existing(self) -> None:
        """What was there stays, with its permissions, and an unfinished last line is finished first."""
        for before in (b"# a\n", b"# a"):
            self.write(before, 0o640)
            append_line(self.path, "b")
            self.assertEqual(self.path.read_bytes(), b"# a\nb\n")
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)

    def test_partOfALine(self) -> None:
        """A line of which only a part found room is taken back."""
        self.write(b"old\n")
        self.assertRefused(
            "No space left",
            lambda: with_file_size_limit(6, lambda: append_line(self.path, "new")),
        )
        self.assertEqual(self.path.read_bytes(), b"old\n")

    def test_partOfALineBesideAnother(self) -> None:
        """What another process appended just before it stays when a line is taken back."""
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

    def test_oneAtATime(self) -> None:
        """Nobody else appends between looking at how the file ends and writing."""
        self.write(b"old")
        pread = os.pread

        def look(descriptor: int, size: int, offset: int) -> bytes:
            with self.path.open("ab") as file:
                self.assertRaises(BlockingIOError, fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return pread(descriptor, size, offset)

        self.patch(os, "pread", look)
        append_line(self.path, "new")
        self.assertEqual(self.path.read_bytes(), b"old\nnew\n")

    def test_noRoom(self) -> None:
        """A full disk is an error that names the file."""
        self.assertRefused(f"{FULL}: No space left", lambda: append_line(FULL, "line"))

    def test_directory(self) -> None:
        """A directory cannot be appended to."""
        self.assertRefused("Is a directory", lambda: append_line(self.directory, "line"))
