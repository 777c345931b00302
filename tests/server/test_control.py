"""The control socket, with a daemon and clients in memory."""

import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from securechat.server.control import BATCH, MAX_CONNECTIONS, MAX_REQUEST, STALL_TIME, ControlFactory, parse_request
from securechat.server.control_commands import CommandError, Controls
from securechat.server.factory import ChatServerFactory
from securechat.server.ledger.interface import Entry, LedgerError
from securechat.server.quotas import Counts
from securechat.server.users import AuthorizedUsers
from securechat.ssh import keys
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.certificates import CA, issue
from tests.harness.pair import PQ, USER_KEY, identity
from tests.server.test_protocol import Listed, ServerTestCase, Session


class Socket(StringTransport):
    """The control socket's transport."""

    aborted = False

    def read(self) -> None:
        """The client reads what was written."""
        assert self.producer is not None
        self.producer.resumeProducing()

    def abortConnection(self) -> None:
        self.aborted = True

    def loseConnection(self) -> None:
        super().loseConnection()
        assert self.producer is None


class ControlTestCase(ServerTestCase):
    """A control socket of a server."""

    def setUp(self) -> None:
        super().setUp()
        self.problem = ""
        self.reloads = 0
        self.drains = 0
        self.used: list[Entry] = []
        self.asked: list[date | None] = []  # the first days of queries for usage
        self.waiting: Deferred[None] | None = None  # the ledger answers after it
        self.serve(self.factory)

    def serve(self, factory: ChatServerFactory) -> None:
        self.factory = factory
        self.control = ControlFactory(Controls(factory, self.reload, self.drain, self.usage), self.clock)

    def reload(self) -> str:
        self.reloads += 1
        return self.problem

    def drain(self) -> None:
        self.drains += 1

    def share(self) -> list[tuple[str, str]]:
        """Share the ledger with other daemons; what these are told."""
        told: list[tuple[str, str]] = []

        async def tell(action: str, name: str) -> None:
            if self.problem:
                raise LedgerError(self.problem)
            told.append((action, name))

        self.control.controls = Controls(self.factory, self.reload, self.drain, self.usage, tell)
        return told

    async def usage(self, since: date | None) -> AsyncIterator[Entry]:
        self.asked.append(since)
        if self.waiting is not None:
            await self.waiting
        for entry in self.used:
            yield entry
        if self.problem:
            raise LedgerError(self.problem)

    def connect(self, request: bytes) -> Socket:
        connection = self.control.buildProtocol(None)
        assert connection is not None
        self.connection = connection
        transport = Socket()
        connection.makeConnection(transport)
        for byte in range(0, len(request), 7):
            connection.dataReceived(request[byte : byte + 7])
        return transport

    def send(self, request: bytes) -> list[dict[str, Any]]:
        """All lines of the answer to a request."""
        transport = self.connect(request)
        while transport.producer is not None:
            transport.read()
        self.assertTrue(transport.disconnecting)
        self.connection.connectionLost(Failure(ConnectionDone()))
        return [json.loads(line) for line in transport.value().splitlines()]

    def ask(self, command: str, **arguments: object) -> list[dict[str, Any]]:
        """The rows of the answer to a command that succeeds."""
        *rows, end = self.send(json.dumps({"command": command, **arguments}).encode() + b"\n")
        self.assertEqual(end, {"result": "ok"})
        return rows

    def refusal(self, request: bytes) -> str:
        """The error that a request is answered with."""
        [end] = self.send(request)
        self.assertEqual(end["result"], "error")
        return str(end["error"])


class CommandTests(ControlTestCase):
    """What commands do."""

    def test_kickUser(self) -> None:
        """All sessions of an authorized user end, here and at the daemons that share the ledger."""
        listed = Listed()
        self.serve(self.make_factory(users=listed))
        sessions = [Session(self.factory, user_key=USER_KEY).open() for _ in range(2)]
        told = self.share()
        name = listed.name_of(USER_KEY.blob)
        self.assertEqual(self.ask("kick-user", user="eve"), [])
        self.assertEqual([row["user"] for row in self.ask("kick-user", user=name)], [name] * 2)
        self.assertEqual(told, [("kick", "eve"), ("kick", name)])
        for session in sessions:
            session.pump()
            [goodbye] = session.events
            assert isinstance(goodbye, GoodbyeReceived)
            self.assertIs(goodbye.reason, Reason.REMOVED)
        self.problem = "no database"
        error = self.refusal(b'{"command":"kick-user","user":"eve"}\n')
        self.assertEqual(error, "done by this daemon, but the others cannot be told: no database")

    def test_kickUserOfOneDaemon(self) -> None:
        """Without a shared ledger, only the sessions of this daemon end."""
        self.assertEqual(self.ask("kick-user", user="ann"), [])

    def test_reloadAll(self) -> None:
        """All daemons reload, unless this one cannot, or is the only one."""
        self.assertEqual(self.refusal(b'{"command":"reload-all"}\n'), "no other daemon shares the ledger: use reload")
        told = self.share()
        self.assertEqual(self.ask("reload-all"), [])
        self.assertEqual((self.reloads, told), (1, [("reload", "")]))
        self.problem = "a bad line"
        self.assertEqual(self.refusal(b'{"command":"reload-all"}\n'), "a bad line")
        self.assertEqual((self.reloads, told), (2, [("reload", "")]))

    def test_sessions(self) -> None:
        """A row for each session says whose it is, since when, and what it has received."""
        self.assertEqual(self.ask("sessions"), [])
        Session(self.factory)  # in its handshake
        session = Session(self.factory, user_key=USER_KEY).open()
        self.clock.advance(3)
        session.say("hello")
        self.clock.advance(4)
        [row] = self.ask("sessions")
        name = keys.fingerprint(USER_KEY.blob)
        self.assertEqual(
            row,
            {
                "session": 2,
                "user": name,
                "key": name,
                "authorized": False,
                "peer": "[192.0.2.7]:5555",
                "suite": PQ.name.decode(),
                "age": 7,
                "idle": 4,
                "messages": 1,
                "waiting": 1,
            },
        )

    def test_kick(self) -> None:
        """A session is ended with GOODBYE, whose reason is that the user was removed; others go on."""
        sessions = [Session(self.factory).open() for _ in range(2)]
        [row] = self.ask("kick", session=2)
        self.assertEqual(row["session"], 2)
        for session in sessions:
            session.pump()
        self.assertEqual(sessions[0].events, [])
        [goodbye] = sessions[1].events
        assert isinstance(goodbye, GoodbyeReceived)
        self.assertIs(goodbye.reason, Reason.REMOVED)

    def test_kickNobody(self) -> None:
        """An error says that there is no such session, or that the client is still in its handshake."""
        Session(self.factory)
        for number in (1, 2):
            self.assertEqual(
                self.refusal(b'{"command":"kick","session":%d}\n' % number),
                f"no session {number}",
            )

    def test_users(self) -> None:
        """A row for each authorized key says how many sessions it has."""
        path = Path(self.mktemp())
        other = keys.SigningKey.generate()
        path.write_text(keys.public_line(USER_KEY.blob, "alice") + "\n" + keys.public_line(other.blob, "bob") + "\n")
        path.chmod(0o600)
        self.serve(self.make_factory(users=AuthorizedUsers(path)))
        for _ in range(2):
            Session(self.factory, user_key=USER_KEY).open()
        self.assertEqual(
            self.ask("users"),
            [
                {"user": "alice", "key": keys.fingerprint(USER_KEY.blob), "sessions": 2},
                {"user": "bob", "key": keys.fingerprint(other.blob), "sessions": 0},
            ],
        )

    def test_usersThatWereLookedUp(self) -> None:
        """Authorized users who are in no file are shown as long as they have a session."""
        self.serve(self.make_factory(users=Listed()))
        Session(self.factory, user_key=USER_KEY).open()
        Session(self.factory).open()
        name = keys.fingerprint(USER_KEY.blob)
        self.assertEqual(self.ask("users"), [{"user": name, "key": name, "sessions": 1}])

    def test_usersWithCertificates(self) -> None:
        """A user whose key has certificates with several names has the sessions of each name counted."""
        path = Path(self.mktemp())
        lines = (
            keys.public_line(USER_KEY.blob, "alice"),
            f'cert-authority,principals="chat" {keys.public_line(CA.blob)}',
        )
        path.write_text("\n".join(lines))
        path.chmod(0o600)
        users = AuthorizedUsers(path)
        self.serve(self.make_factory(users=users))
        self.factory.identity = identity(users.client_auth, users.is_authorized)
        for credential in (*(issue(USER_KEY, b"chat", key_id=name) for name in (b"bob", b"eve", b"bob")), b""):
            Session(self.factory, user_key=USER_KEY, credential=credential).open()
        found = {row["user"]: row["sessions"] for row in self.ask("users")}
        self.assertEqual(found, {"bob": 2, "eve": 1, "alice": 1})

    def test_noUsers(self) -> None:
        """Without a list of users, an error says so."""
        self.assertIn("everyone is admitted", self.refusal(b'{"command":"users"}\n'))

    def test_reload(self) -> None:
        """Reloading succeeds, or the answer says what is wrong."""
        self.assertEqual(self.ask("reload"), [])
        self.problem = "keys:3: not a valid ssh-ed25519 public key"
        self.assertEqual(self.refusal(b'{"command":"reload"}\n'), self.problem)
        self.assertEqual(self.reloads, 2)

    def test_drain(self) -> None:
        """The daemon begins to stop once the answer has been sent."""
        transport = self.connect(b'{"command":"drain"}\n')
        while transport.producer is not None:
            transport.read()
        self.assertEqual((transport.value(), self.drains), (b'{"result":"ok"}\n', 0))
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.drains, 1)

    def test_usage(self) -> None:
        """A row for each user and day has the counters; the first day may be given."""
        self.used = [Entry(date(2026, 3, 1), "ann", Counts(1, 2, 3, 4, 5)), Entry(date(2026, 3, 2), "", Counts())]
        rows = self.ask("usage", since="2026-03-01")
        expected = {
            "day": "2026-03-01",
            "user": "ann",
            "messages": 1,
            "calls": 2,
            "prompt-tokens": 3,
            "completion-tokens": 4,
            "estimated-tokens": 5,
        }
        self.assertEqual(rows, [expected, {**dict.fromkeys(expected, 0), "day": "2026-03-02", "user": ""}])
        self.ask("usage")
        self.assertEqual(self.asked, [date(2026, 3, 1), None])

    def test_unsavedUsage(self) -> None:
        """If the latest usage cannot be saved, an error says so after the rows."""
        self.used = [Entry(date(2026, 3, 1), "ann", Counts())]
        self.problem = "disk full"
        row, end = self.send(b'{"command":"usage"}\n')
        self.assertEqual((row["user"], end), ("ann", {"result": "error", "error": "disk full"}))

    def test_stats(self) -> None:
        """One row has the totals."""
        session = Session(self.factory).open()
        session.say("hello")
        Session(self.factory).lose()
        [row] = self.ask("stats")
        expected = {
            "ready": True,
            "sessions": 1,
            "handshakes-admitted": 1,
            "handshakes-failed": 1,
            "messages": 1,
            "replies": 0,
            "messages-waiting": 1,
            "messages-buffered": 5,
            "keys-stale": False,
            "ledger-stale": False,
        }
        self.assertEqual({name: row[name] for name in expected}, expected)


class RequestTests(ControlTestCase):
    """Requests that are wrong, large or slow, and answers that are not read."""

    def test_invalid(self) -> None:
        """A request that is not one of the commands is answered with an error."""
        for request in (
            b"\n",
            b"sessions\n",
            b"[]\n",
            b"{}\n",
            b'{"command":"kill"}\n',
            b'{"command":"kick"}\n',
            b'{"command":"kick","session":-1}\n',
            b'{"command":"kick","session":"1"}\n',
            b'{"command":"kick","session":1e99}\n',
            b'{"command":"sessions","session":1}\n',
            b'{"command":"usage","since":"2026-02-30"}\n',
            b'{"command":"usage","since":20260301}\n',
            b"[" * (MAX_REQUEST - 1) + b"\n",
            b"\xff\n",
        ):
            self.assertIn("invalid request: ", self.refusal(request), request)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_tooLong(self) -> None:
        """So is one that is too long, without waiting for its end."""
        self.assertIn(f"at most {MAX_REQUEST} bytes", self.refusal(b" " * (MAX_REQUEST + 1)))
        self.assertIn("invalid request", self.refusal(b" " * MAX_REQUEST + b"\n"))

    def test_oneRequest(self) -> None:
        """What follows the request is ignored."""
        self.assertEqual(len(self.send(b'{"command":"reload"}\n{"command":"reload"}\n')), 1)
        self.assertEqual(self.reloads, 1)

    def test_slow(self) -> None:
        """A connection without a complete request is closed after a while; so is one that does not read."""
        transport = self.connect(b'{"command":')
        self.clock.advance(STALL_TIME)
        self.assertTrue(transport.aborted)
        transport = self.connect(b'{"command":"reload"}\n')
        self.clock.advance(STALL_TIME - 1)
        transport.read()
        self.assertFalse(transport.aborted)

    def test_manyRows(self) -> None:
        """Rows are written a few at a time, as they are read; a session that has ended meanwhile is left out."""
        self.serve(self.make_factory(max_sessions_per_source=1000, handshake_burst=1000, max_handshakes_per_source=9))
        sessions = [Session(self.factory).open() for _ in range(BATCH + 2)]
        transport = self.connect(b'{"command":"sessions"}\n')
        transport.read()
        self.assertEqual(len(transport.value().splitlines()), BATCH)
        sessions[-1].lose()
        transport.read()
        rows = [json.loads(line) for line in transport.value().splitlines()]
        self.assertEqual([row.get("session") for row in rows], [*range(1, BATCH + 2), None])

    def test_wait(self) -> None:
        """A command may have to wait for its rows; the client may go meanwhile, and does not wait for ever."""
        self.used = [Entry(date(2026, 3, 1), "ann", Counts())]
        self.waiting = Deferred()
        transport = self.connect(b'{"command":"usage"}\n')
        transport.read()
        self.assertEqual(transport.value(), b"")
        self.waiting.callback(None)
        self.assertIn(b'"ann"', transport.value())
        cancelled: list[object] = []
        self.waiting = Deferred(cancelled.append)
        transport = self.connect(b'{"command":"usage"}\n')
        transport.read()
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((transport.value(), len(cancelled)), (b"", 1))
        self.waiting = Deferred()
        transport = self.connect(b'{"command":"usage"}\n')
        transport.read()
        self.clock.advance(STALL_TIME)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_connections(self) -> None:
        """The number of connections is limited."""
        for _ in range(MAX_CONNECTIONS):
            self.connect(b"")
        self.assertIsNone(self.control.buildProtocol(None))
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(self.control.buildProtocol(None))

    def test_bugs(self) -> None:
        """An error in a command is logged and ends its connection only."""

        def fail() -> str:
            raise ZeroDivisionError

        self.control.controls = Controls(self.factory, fail, self.drain, self.usage)
        self.assertEqual(self.refusal(b'{"command":"reload"}\n'), "internal error; see the log")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @given(st.binary(max_size=60) | st.text().map(lambda text: json.dumps({"command": text}).encode()))
    def test_anything(self, line: bytes) -> None:
        """No line causes another error than that it is invalid."""
        try:
            parse_request(line)
        except CommandError as error:
            self.assertLess(len(str(error)), 1000)
