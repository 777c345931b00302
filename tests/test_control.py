"""securechat-ctl, with a daemon that only answers."""

import json
import os
import socket
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import rmtree
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from securechat import control
from securechat.control import FAILED, OK, main
from securechat.server.control_commands import COMMANDS

ROWS = [
    {"session": 1, "user": "alice", "authorized": True},
    {"session": 12, "user": "", "authorized": False},
    {"session": 13, "user": "b\x1b[2J\u202eb", "authorized": False},
]
DONE = {"result": "ok"}


class ControlTests(SynchronousTestCase):
    """The program, in this process."""

    def setUp(self) -> None:
        directory = tempfile.mkdtemp()  # the path of a socket has to be short
        self.addCleanup(rmtree, directory)
        self.path = Path(directory) / "control"
        self.requests: list[object] = []

    def run_with(self, answer: bytes, *arguments: str) -> tuple[int, list[str], str]:
        """Exit status, lines of standard output, and standard error, with a daemon that gives this answer."""

        def serve() -> None:
            connection, _address = server.accept()
            with connection, connection.makefile("rb") as lines:
                self.requests.append(json.loads(next(lines)))
                connection.sendall(answer)

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path))
            server.listen()
            thread = Thread(target=serve, daemon=True)
            thread.start()
            result = self.run_alone(*arguments)
            thread.join(20)
        self.path.unlink()
        return result

    def run_alone(self, *arguments: str) -> tuple[int, list[str], str]:
        output, errors = StringIO(), StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            status = main(["--socket", str(self.path), *arguments])
        return status, output.getvalue().splitlines(), errors.getvalue()

    def answer(self, *rows: object) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def test_table(self) -> None:
        """Rows are shown as a table, without control characters."""
        status, lines, errors = self.run_with(self.answer(*ROWS, DONE), "sessions")
        self.assertEqual((status, errors), (OK, ""))
        expected = [
            "session  user     authorized",
            "1        alice    yes",
            "12       -        no",
            "13       b\ufffd[2J\ufffdb  no",
        ]
        self.assertEqual(lines, expected)
        self.assertEqual(self.requests, [{"command": "sessions"}])

    def test_json(self) -> None:
        """With --json, they are printed as they are, one a line."""
        status, lines, _errors = self.run_with(self.answer(*ROWS, DONE), "--json", "sessions")
        self.assertEqual(status, OK)
        self.assertEqual(list(map(json.loads, lines)), ROWS)
        self.assertTrue(all(line.isascii() for line in lines))

    def test_stats(self) -> None:
        """The totals are shown one a line."""
        _status, lines, _errors = self.run_with(self.answer({"messages": 3, "ready": True}, DONE), "stats")
        self.assertEqual(lines, ["name      value", "messages  3", "ready     yes"])

    def test_nothing(self) -> None:
        """A table without rows is empty, and a command that just succeeds prints nothing."""
        self.assertEqual(self.run_with(self.answer(DONE), "sessions"), (OK, [], ""))
        self.assertEqual(self.run_with(self.answer(ROWS[0], DONE), "kick", "12"), (OK, [], ""))
        self.assertEqual(self.requests[-1], {"command": "kick", "session": 12})

    def test_errors(self) -> None:
        """An error of the daemon is one line on standard error, and the exit status is 1."""
        answer = self.answer({"result": "error", "error": "no session 9\n"})
        self.assertEqual(self.run_with(answer, "kick", "9"), (FAILED, [], "securechat-ctl: no session 9\ufffd\n"))

    def test_notADaemon(self) -> None:
        """So is anything but an answer."""
        for answer in (b"HTTP/1.1 400 Bad Request\r\n", b"[1]\n", b'{"result":"error"}\n', b"\xff\n", b"7\n"):
            status, lines, errors = self.run_with(answer, "sessions")
            self.assertEqual((status, lines), (FAILED, []), answer)
            self.assertRegex(errors, "^securechat-ctl: .*not the control socket.*\n$")
        for answer in (b"", self.answer(ROWS[0])):
            _status, _lines, errors = self.run_with(answer, "sessions")
            self.assertIn("closed the connection", errors)

    def test_errorAfterRows(self) -> None:
        """Rows before an error are shown all the same."""
        answer = self.answer(ROWS[0], {"result": "error", "error": "disk full"})
        for arguments, number in (((), 2), (("--json",), 1)):
            status, lines, errors = self.run_with(answer, *arguments, "usage")
            self.assertEqual((status, len(lines), errors), (FAILED, number, "securechat-ctl: disk full\n"))

    def test_date(self) -> None:
        """A date is sent as it is, and none if there is none; --json may stand after the command, too."""
        for arguments in (("usage",), ("usage", "--since", "2026-03-01", "--json")):
            self.assertEqual(self.run_with(self.answer(DONE), *arguments)[0], OK)
        self.assertEqual(self.requests, [{"command": "usage"}, {"command": "usage", "since": "2026-03-01"}])

    def test_noDaemon(self) -> None:
        """So is a socket that does not exist or on which nobody listens."""
        status, _lines, errors = self.run_alone("sessions")
        self.assertEqual(status, FAILED)
        self.assertEqual(errors, f"securechat-ctl: {self.path}: No such file or directory\n")

    def test_usage(self) -> None:
        """A wrong command line ends it with exit status 2."""
        for arguments in ((), ("kill",), ("kick",), ("kick", "x"), ("sessions", "1"), ("usage", "--since", "x")):
            with redirect_stderr(StringIO()):
                self.assertEqual(self.assertRaises(SystemExit, main, arguments).code, 2)

    def test_defaultSocket(self) -> None:
        """Without --socket, it is in the runtime directory: root's is that of the service."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(control.default_socket(), Path("/run/securechat/control"))
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "environ", {"XDG_RUNTIME_DIR": "/run/user/1000"})
        self.assertEqual(control.default_socket(), Path("/run/user/1000/securechat/control"))

    def test_sameCommands(self) -> None:
        """The program knows all commands of the daemon, with their arguments."""
        known = {command.__struct_config__.tag: command.__struct_fields__ for command in COMMANDS.__args__}
        ours = {
            name: (*command.numbers, *command.texts, *(option for option, _help in command.dates))
            for name, command in control.COMMANDS.items()
        }
        self.assertEqual(ours, known)
