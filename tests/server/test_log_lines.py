"""The lines of the log that operators, and programs such as fail2ban, rely on: their words and levels."""

from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from securechat.errors import Fault, RobotError
from securechat.server.log_format import FIELDS
from securechat.server.users import AuthorizedUsers
from securechat.ssh import keys
from securechat.wire.messages import Reason
from securechat.wire.suites import DEFAULT_SUITE
from tests.harness.certificates import CA, issue
from tests.harness.pair import NAME, USER_KEY, identity
from tests.server.test_protocol import CLIENT, SERVER, Listed, ServerTestCase, Session, Wire

SUITE = DEFAULT_SUITE.decode()


class Named(Listed):
    """Authorized users are called alice."""

    def name_of(self, blob: bytes) -> str:
        return "alice"


class LogTests(ServerTestCase):
    """What is logged of a client, from its first line to its last."""

    def assertLog(self, *expected: str) -> None:
        """These lines were logged since the last call, each with its level before it."""
        lines = [
            f"{event['log_level'].name} {event['log_format'].format(**event)}"
            for event in self.logged
            if event.get("log_format")
        ]
        self.assertEqual(lines, list(expected))
        self.logged.clear()

    def test_session(self) -> None:
        """A client that connects, talks and leaves."""
        session = Session(self.factory).open()
        session.say("hello")
        self.robot.end()
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        session.server.connectionLost(Failure(ConnectionDone()))
        self.assertLog(
            f"info client 1 from [192.0.2.7]:5555: admitted as anonymous, suite {SUITE}",
            "info client 1: a message of 5 characters",
            f"info client 1 from [192.0.2.7]:5555: ended (leaving) as anonymous, suite {SUITE}, 0.0 s, messages 1, "
            "records received 3, sent 4",
        )

    def test_user(self) -> None:
        """A client with a key is named."""
        Session(self.factory, user_key=USER_KEY).open()
        key = keys.fingerprint(USER_KEY.blob)
        self.assertLog(f"info client 1 from [192.0.2.7]:5555: admitted as {key}, suite {SUITE}")

    def test_authorizedUser(self) -> None:
        """A user on the list has a name and a key, in each line."""
        self.factory = self.make_factory(users=Named())
        session = Session(self.factory, user_key=USER_KEY).open()
        session.say("hello")
        self.clock.advance(2.5)
        session.server.dataReceived(b"garbage")
        key = keys.fingerprint(USER_KEY.blob)
        self.assertLog(
            f"info client 1 from [192.0.2.7]:5555: admitted as alice, key {key}, suite {SUITE}",
            "info client 1: a message of 5 characters",
            f"warn client 1 from [192.0.2.7]:5555: aborted (framing) as alice, key {key}, suite {SUITE}, 2.5 s, "
            "messages 1, records received 2, sent 2",
        )

    def test_fields(self) -> None:
        """The events of a connection have fields, whose names and values are those of the JSON log."""
        self.factory = self.make_factory(users=Named())
        session = Session(self.factory, user_key=USER_KEY).open()
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        session.server.connectionLost(Failure(ConnectionDone()))
        Session(self.factory).server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        common = {"client": 1, "address": "192.0.2.7", "port": 5555, "suite": SUITE, "user": "alice"}
        common |= {"key": keys.fingerprint(USER_KEY.blob), "certificate": None}
        counts = {"duration": 0.0, "messages": 0, "records_received": 1, "records_sent": 2}
        end = {**common, **counts, "records_received": 2, "records_sent": 3, "reason": "leaving", "category": None}
        nobody = dict.fromkeys(end, None) | {"client": 2, "address": "192.0.2.7", "port": 5555, "category": "framing"}
        zero = {"duration": 0.0, "messages": 0, "records_received": 0, "records_sent": 0}
        for event, (name, expected) in zip(
            [event for event in self.logged if "event" in event],
            [("admitted", common | counts), ("ended", end), ("aborted", nobody | zero)],
            strict=True,
        ):
            found = {field: event[field] for field in FIELDS if field in event}
            self.assertEqual(found, {"event": name, **expected})

    def test_certificate(self) -> None:
        """A user with a certificate has its key ID, serial number and authority in each line, as with sshd."""
        path = Path(self.mktemp())
        path.write_text(f'cert-authority,principals="ops" {keys.public_line(CA.blob)}\n')
        path.chmod(0o600)
        users = AuthorizedUsers(path)
        self.factory = self.make_factory(client_auth=users.client_auth, users=users)
        session = Session(self.factory, user_key=USER_KEY, credential=issue(USER_KEY, b"ops", key_id='é"\n'.encode()))
        session.open()
        session.lose()
        key, ca = keys.fingerprint(USER_KEY.blob), keys.fingerprint(CA.blob)
        described = f'ID "é\\"?" (serial 7) CA {ca}'
        details = f"certificate {described}, suite {SUITE}"
        self.assertEqual({event["certificate"] for event in self.logged if "event" in event}, {described})
        self.assertLog(
            f"info client 1 from [192.0.2.7]:5555: admitted as {key}, {details}",
            f"info client 1 from [192.0.2.7]:5555: ended (cut) as {key}, {details}, 0.0 s, messages 0, "
            "records received 1, sent 2",
        )

    def test_strangersCertificate(self) -> None:
        """The key ID of a certificate that authorizes no user is not logged: anyone can make one, with any text."""
        self.factory.identity = identity(is_authorized=lambda blob, certificate: False)
        Session(self.factory, user_key=USER_KEY, credential=issue(USER_KEY, b"ops")).pump()
        key = keys.fingerprint(USER_KEY.blob)
        certificate = f"certificate (serial 7) CA {keys.fingerprint(CA.blob)}"
        details = f"key {key}, {certificate}, suite {SUITE}"
        self.assertLog(f"warn client 1 from [192.0.2.7]:5555: aborted (user-key), {details}")
        self.factory.identity = identity()
        Session(self.factory, user_key=USER_KEY, credential=issue(USER_KEY, b"ops")).open()
        self.assertLog(f"info client 2 from [192.0.2.7]:5555: admitted as {key}, {certificate}, suite {SUITE}")

    def test_nothingSent(self) -> None:
        """No record was sent if the server aborts before its answer to the Hello has left."""
        session = Session(self.factory)
        session.server.dataReceived(session.client.data_to_send() + b"garbage")
        aborted = next(event for event in self.logged if "event" in event)
        self.assertEqual((aborted["category"], aborted["records_sent"]), ("framing", 0))

    def test_unauthorizedKey(self) -> None:
        """A key that is not authorized is named if the client has proved to own it."""
        self.factory.identity = identity(is_authorized=lambda blob, certificate: False)
        Session(self.factory, user_key=USER_KEY).pump()
        key = keys.fingerprint(USER_KEY.blob)
        self.assertLog(f"warn client 1 from [192.0.2.7]:5555: aborted (user-key), key {key}, suite {SUITE}")

    def test_reasons(self) -> None:
        """A session that the server ends has the reason."""
        session = Session(self.factory).open()
        session.server.leave(Reason.KEY_WITHDRAWN)
        session.pump()
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.logged.clear()
        session.server.connectionLost(Failure(ConnectionDone()))
        (event,) = self.logged
        self.assertEqual((event["why"], event["reason"]), ("key-withdrawn", "key-withdrawn"))

    def test_aborted(self) -> None:
        """Connections that fail are warnings with the category; those that break off are not warnings."""
        session = Session(self.factory)
        self.logged.clear()
        session.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        session.lose()
        self.assertLog("warn client 1 from [192.0.2.7]:5555: aborted (framing)")
        session = Session(self.factory)
        self.logged.clear()
        session.lose()
        self.assertLog("info client 2 from [192.0.2.7]:5555: ended (cut)")

    def test_timeouts(self) -> None:
        """A timeout at any point is a warning."""
        half = Session(self.factory)
        half.server.dataReceived(half.client.data_to_send())
        opened = Session(self.factory).open()
        opened.server.pauseProducing()
        Session(self.factory)
        self.logged.clear()
        self.clock.advance(5)
        self.assertLog("warn client 3 from [192.0.2.7]:5555: aborted (timeout)")
        self.clock.advance(25)
        self.assertEqual(len(self.logged), 2)
        self.assertLog(
            f"warn client 1 from [192.0.2.7]:5555: aborted (timeout), suite {SUITE}",
            f"warn client 2 from [192.0.2.7]:5555: aborted (timeout) as anonymous, suite {SUITE}, 30.0 s, messages 0, "
            "records received 1, sent 2",
        )

    def test_refused(self) -> None:
        """So is a connection that is not accepted, with its address."""
        self.factory = self.make_factory(max_handshakes_per_source=1)
        Session(self.factory)
        self.logged.clear()
        self.factory.buildProtocol(CLIENT)
        self.assertLog("warn client 2 from [192.0.2.7]:5555: refused (limit)")

    def test_robotFails(self) -> None:
        """And a robot that fails, with the fault and the detail."""
        session = Session(self.factory).open()
        session.say("x")
        self.logged.clear()
        self.robot.fail(RobotError(Fault.TIMED_OUT, "no response within 3 s"))
        self.assertLog("warn robot puppet: TIMED_OUT: no response within 3 s")

    def test_characters(self) -> None:
        """Characters of a message are counted, not bytes."""
        session = Session(self.factory).open()
        self.logged.clear()
        session.say("你好, Welt")
        self.assertLog("info client 1: a message of 8 characters")

    def test_addresses(self) -> None:
        """The address is that of the client, in brackets with its port; a UNIX socket has its name, if it has one."""
        self.factory = self.make_factory(names=(NAME,))
        places: list[tuple[IAddress, str]] = [
            (IPv4Address("TCP", "192.0.2.1", 1), "[192.0.2.1]:1"),
            (IPv6Address("TCP", "2001:db8::1", 65535), "[2001:db8::1]:65535"),
            (UNIXAddress(b"/run/peer"), "/run/peer"),
            (UNIXAddress(b""), "a UNIX socket"),
            (UNIXAddress(None), "a UNIX socket"),
        ]
        for number, (address, shown) in enumerate(places, 1):
            Session(self.factory, wire=Wire(address, SERVER)).lose()
            self.assertLog(f"info client {number} from {shown}: ended (cut)")

    def test_nothingElse(self) -> None:
        """Twisted says nothing of each connection."""
        self.assertFalse(self.factory.noisy)
