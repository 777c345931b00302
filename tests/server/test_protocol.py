"""The server's Protocol and Factory, with a real client connection at the other end of a transport in memory."""

import re
import socket
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, ISystemHandle
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat import __version__
from securechat.conversation import Conversation, Notice
from securechat.errors import Fault, RobotError
from securechat.robots.interface import IRobot
from securechat.server.factory import ChatServerFactory
from securechat.server.protocol import ChatServer
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone, Users
from securechat.ssh import keys
from securechat.ssh.authorized_keys import Entry
from securechat.ssh.certificates import Certificate
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import State
from securechat.wire.events import (
    Admitted,
    Event,
    FaultReceived,
    GoodbyeReceived,
    HostKeyReceived,
    ReplyReceived,
    ServerProved,
)
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import ClientAuth, Reason
from securechat.wire.shaping import Shaping
from tests.harness.pair import HOST_KEY, NAME, PQ, USER_KEY, accept, ephemeral_key, identity
from tests.harness.robot import PuppetRobot

CLIENT = IPv4Address("TCP", "192.0.2.7", 5555)
SERVER = IPv4Address("TCP", "127.0.0.1", 8080)


class Wire(StringTransport):
    """A transport that remembers how it ended."""

    def __init__(self, peer: IAddress = CLIENT, host: IAddress = SERVER) -> None:
        super().__init__(peerAddress=peer, hostAddress=host)
        self.aborted = False
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True


class Session:
    """A client and its ChatServer. `pump` carries bytes both ways; `events` is what the client heard."""

    def __init__(
        self,
        factory: ChatServerFactory,
        *,
        user_key: keys.SigningKey | None = None,
        wire: Wire | None = None,
        name: str = NAME,
        credential: bytes | None = None,
    ) -> None:
        """`credential` is the blob of a certificate for `user_key`."""
        self.user_key = user_key
        self.clock = cast(Clock, factory.clock)
        self.unread = b""  # sent while the server does not read
        self.events: list[Event] = []
        self.wire = wire or Wire()
        credential = credential or (user_key.blob if user_key else b"")
        handshake = ClientHandshake(PQ, ephemeral_key(PQ), name, accept, credential)
        self.client = ClientConnection(handshake, factory.clock.seconds)
        server = factory.buildProtocol(self.wire.getPeer())
        assert server is not None
        self.server: ChatServer = server
        self.server.makeConnection(self.wire)

    def pump(self) -> None:
        while True:
            self.clock.advance(0)
            self.unread += self.client.data_to_send()
            up = self.wire.producerState == "producing" and self.unread
            if up:
                self.unread = b""
                self.server.dataReceived(up)
            down = self.wire.value()
            self.wire.clear()
            for event in self.client.receive_data(down):
                self.events.append(event)
                if isinstance(event, ServerProved):
                    self.client.prove(self.user_key.sign(event.data) if self.user_key and event.data else b"")
            if not up and not down:
                return

    def open(self) -> "Session":
        self.pump()
        assert isinstance(self.events[-1], Admitted)
        self.events.clear()
        return self

    def say(self, text: str) -> None:
        self.client.say(text)
        self.pump()

    def lose(self) -> None:
        self.server.connectionLost(Failure(ConnectionLost()))


class Listed(Anyone):
    """Some are authorized users; everybody else is admitted, too."""

    has_list = True

    def __init__(self, *authorized: keys.SigningKey) -> None:
        self.authorized = {key.blob for key in authorized or (USER_KEY,)}

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        return blob in self.authorized


class ServerTestCase(SynchronousTestCase):
    """A factory with a puppet for a robot, and what it logged."""

    clock_type = Clock

    def setUp(self) -> None:
        self.clock = self.clock_type()
        self.robot = PuppetRobot()
        self.logged: list[dict[str, Any]] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.factory = self.make_factory()

    def tearDown(self) -> None:
        for session in list(self.factory.sessions):
            session.connectionLost(Failure(ConnectionDone()))

    def make_factory(
        self,
        *,
        client_auth: ClientAuth = ClientAuth.OPTIONAL,
        users: Users | None = None,
        robot: object = None,
        **settings: Any,
    ) -> ChatServerFactory:
        return ChatServerFactory(
            ServerSettings(**{"shaping": Shaping.OFF, "message_burst": 10_000, **settings}),
            identity(client_auth),
            users or Anyone(),
            cast(IRobot, robot or self.robot),
            self.clock,
            self.clock.seconds,
        )

    def log_lines(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.logged if event.get("log_format")]

    def assertLogged(self, pattern: str) -> None:
        lines = self.log_lines()
        self.assertTrue(any(re.search(pattern, line) for line in lines), f"{pattern} not in {lines}")


class SessionTests(ServerTestCase):
    """A session that goes well."""

    def test_numbersItsClients(self) -> None:
        """The log tells which client connected from where."""
        for _ in range(3):
            Session(self.factory).open()
        self.assertLogged(r"client 3 from \[192\.0\.2\.7\]:5555: admitted as anonymous")

    def test_tellsWhoTheyAre(self) -> None:
        """ABOUT names the user, the robot and the software."""
        session = Session(self.factory, user_key=USER_KEY)
        session.pump()
        about = session.events[-1]
        assert isinstance(about, Admitted)
        self.assertEqual((about.user, about.robot), (keys.fingerprint(USER_KEY.blob), "puppet"))
        self.assertEqual(about.software, f"securechat/{__version__}")

    def test_answers(self) -> None:
        """A message goes to the robot, and each chunk of its reply to the client as it comes."""
        session = Session(self.factory).open()
        session.say("hello")
        self.assertEqual(self.robot.asked, ["hello"])
        self.robot.say("hi ")
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "hi ", False)])
        self.robot.say("there")
        self.robot.end()
        session.pump()
        self.assertEqual("".join(event.text for event in session.events), "hi there")  # type: ignore[attr-defined]
        self.assertLogged("client 1: a message of 5 characters")
        self.assertFalse([line for line in self.log_lines() if "hello" in line or "there" in line])

    def test_nextHostKey(self) -> None:
        """Without shaping, the next host key is sent as soon as the client asks for it, before any reply."""
        successor = keys.SigningKey.generate()
        self.factory.identity = replace(self.factory.identity, next_host_key=successor)
        session = Session(self.factory).open()
        session.client.ask_host_key()
        session.say("hello")
        self.assertEqual(session.events, [HostKeyReceived(HOST_KEY.blob, successor.blob)])

    def test_logsOnceASecond(self) -> None:
        """The first message is logged at once, and what comes within a second after it in one line."""
        self.robot.echo = True
        session = Session(self.factory).open()
        for text in ("one", "two", "three"):
            session.say(text)
        self.clock.advance(1.0)
        session.say("four")
        session.say("five")
        session.lose()
        lines = [line for line in self.log_lines() if " of " in line]
        self.assertEqual(
            lines,
            [
                "client 1: a message of 3 characters",
                "client 1: 3 messages of 12 characters",
                "client 1: a message of 4 characters",
            ],
        )

    def test_logsTextOnlyWhenAskedTo(self) -> None:
        """What users say is logged at debug level, and only if the operator wants it."""
        self.factory = self.make_factory(log_text=True)
        Session(self.factory).open().say("hello")
        [event] = [event for event in self.logged if event.get("text") == "hello"]
        self.assertEqual(event["log_level"], LogLevel.debug)

    def test_oneAfterTheOther(self) -> None:
        """Messages sent back to back get their replies in order, and the robot is asked for one at a time."""
        session = Session(self.factory).open()
        session.client.say("one")
        session.client.say("two")
        session.pump()
        self.assertEqual(self.robot.asked, ["one"])
        self.robot.say("1")
        self.robot.end()
        self.assertEqual(self.robot.asked, ["one"])  # others get their turn first
        self.clock.advance(0)
        self.assertEqual(self.robot.asked, ["one", "two"])
        self.robot.say("2")
        self.robot.end()
        session.pump()
        replies = [(event.id, event.text) for event in session.events if isinstance(event, ReplyReceived)]
        self.assertEqual([reply for reply in replies if reply[1]], [(1, "1"), (2, "2")])

    def test_oneWriteForWhatCameTogether(self) -> None:
        """A reply that comes at once, and the faults of messages in the same read, leave in one write."""
        self.robot.echo = True
        session = Session(self.factory).open()
        session.client.say("hello")
        session.wire.writes.clear()
        session.server.dataReceived(session.client.data_to_send())
        self.assertEqual([len(data) for data in session.wire.writes], [4 + PQ.record_size])
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "hello", True)])

    def test_remembersTheConversation(self) -> None:
        """The robot is told what was said before, until the client starts afresh."""
        self.robot.echo = True
        session = Session(self.factory).open()
        session.say("a")
        session.say("b")
        session.client.start_afresh()
        session.say("c")
        self.assertEqual(self.robot.turns, [["a"], ["a", "a", "b"], ["c"]])

    def test_conversationsAreSeparate(self) -> None:
        """The robot is told what was said in the session, and of no other, also if it is the same user's."""
        self.robot.echo = True
        sessions = [Session(self.factory, user_key=key).open() for key in (None, None, USER_KEY, USER_KEY)]
        for text in ("a", "b"):
            for number, session in enumerate(sessions):
                session.say(f"{text}{number}")
        for number, turns in enumerate(self.robot.turns[4:]):
            self.assertEqual(turns, [f"a{number}", f"a{number}", f"b{number}"])
        sessions[0].client.start_afresh()
        for number, session in enumerate(sessions):
            session.say(f"c{number}")
        self.assertEqual([len(turns) for turns in self.robot.turns[8:]], [1, 5, 5, 5])

    def test_notices(self) -> None:
        """What is said about a reply is heard, and not remembered; nor is a question that got nothing else."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.say("1", Notice("!"))
        self.robot.end()
        session.say("two")
        self.robot.say(Notice("nothing found"))
        self.robot.end()
        session.say("three")
        self.assertEqual(self.robot.turns[-1], ["one", "1", "three"])
        texts = [event.text for event in session.events if isinstance(event, ReplyReceived)]
        self.assertEqual("".join(texts), "1!nothing found")

    def test_forgetsTheOldest(self) -> None:
        """A conversation is remembered up to a number of turns and of characters."""
        self.robot.echo = True
        session = Session(self.factory).open()
        for number in range(30):
            session.say(str(number))
        self.assertEqual(self.robot.turns[-1][:2], ["9", "9"])
        self.assertEqual(len(self.robot.turns[-1]), 41)
        session.say("x" * 32_768)
        session.say("y")
        session.say("z")
        self.assertEqual(self.robot.turns[-2], ["x" * 32_768, "x" * 32_768, "y"])
        self.assertEqual(self.robot.turns[-1], ["y", "y", "z"])

    def test_pseudonyms(self) -> None:
        """A robot knows a user with a key by the same name each time, an anonymous one by another each time."""
        seen: list[str] = []

        class Curious(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                seen.append(conversation.user_id)
                yield "hello"

        self.factory = self.make_factory(robot=Curious())
        for user_key in (USER_KEY, USER_KEY, None, None):
            Session(self.factory, user_key=user_key).open().say("x")
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(len(set(seen)), 3)
        for user_id in seen:
            self.assertRegex(user_id, "^[0-9a-f]{32}$")

    def test_queueKeys(self) -> None:
        """In a robot's queue, authorized users have a place of their own; all others share that of their source."""
        seen: list[tuple[str, str]] = []

        class Curious(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                seen.append((conversation.queue_key, conversation.user_id))
                yield "hello"

        self.factory = self.make_factory(robot=Curious(), users=Listed())
        own = keys.SigningKey.generate()
        elsewhere = IPv4Address("TCP", "192.0.2.8", 1)
        for key, peer in ((None, CLIENT), (None, CLIENT), (own, CLIENT), (USER_KEY, CLIENT), (USER_KEY, elsewhere)):
            Session(self.factory, user_key=key, wire=Wire(peer)).open().say("x")
        Session(self.factory, wire=Wire(elsewhere)).open().say("x")
        for number in range(16):
            peer6 = IPv6Address("TCP", f"2001:db8:0:{number}::1", 1)
            Session(self.factory, wire=Wire(peer6)).open().say("x")
        queue_keys, user_ids = zip(*seen, strict=True)
        self.assertEqual(len(set(queue_keys[:3])), 1)
        self.assertEqual(set(queue_keys[3:5]), {user_ids[3]})
        self.assertEqual(len(set(queue_keys[:6])), 3)
        self.assertEqual(len(set(queue_keys[6:])), 4)
        for queue_key in queue_keys:
            self.assertRegex(queue_key, "^[0-9a-f]{32}$")

    def test_goodbye(self) -> None:
        """A client that leaves is answered, its robot stopped, the connection closed."""
        session = Session(self.factory).open()
        session.say("x")
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.LEAVING, 0))
        self.assertTrue(session.wire.disconnecting)
        self.assertFalse(session.wire.aborted)
        self.assertEqual(self.robot.cancelled, 1)
        session.server.connectionLost(Failure(ConnectionDone()))
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: ended \(leaving\) as anonymous")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.sessions, set())


class CancelTests(ServerTestCase):
    """CANCEL stops the robot at once."""

    def test_running(self) -> None:
        """The reply being given ends in a fault, and the next message is answered."""
        session = Session(self.factory).open()
        session.say("one")
        session.say("two")
        session.client.cancel(1)
        session.pump()
        self.assertEqual(self.robot.cancelled, 1)
        self.assertEqual(session.events, [FaultReceived(1, Fault.CANCELLED)])
        self.assertEqual(self.robot.asked, ["one", "two"])

    def test_waiting(self) -> None:
        """A message that waits is not asked at all."""
        session = Session(self.factory).open()
        session.say("one")
        session.say("two")
        session.client.cancel(2)
        session.pump()
        self.robot.end()
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(2, Fault.CANCELLED))
        self.assertEqual(self.robot.asked, ["one"])

    def test_tooLate(self) -> None:
        """A cancel that crosses the end of its reply does nothing."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.end()
        session.client.cancel(1)
        session.pump()
        session.say("two")
        self.robot.say("2")
        self.robot.end()
        session.pump()
        self.assertEqual(session.events[-1].id, 2)  # type: ignore[attr-defined]

    def test_whatWasCancelledIsForgotten(self) -> None:
        """A robot is not told of turns that were never answered."""
        session = Session(self.factory).open()
        session.say("one")
        session.client.cancel(1)
        session.say("two")
        self.assertEqual(self.robot.turns[-1], ["two"])


class RobotFailureTests(ServerTestCase):
    """Robots that fail do not take the session with them."""

    def test_robotError(self) -> None:
        """The fault goes to the client, the detail to the log, and the conversation goes on."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.say("half")
        self.robot.fail(RobotError(Fault.UNREACHABLE, "connection refused"))
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.UNREACHABLE))
        self.assertLogged("puppet: UNREACHABLE: connection refused")
        session.say("two")
        self.assertEqual(self.robot.turns[-1], ["two"])

    def test_anyOtherError(self) -> None:
        """A robot's own bug is INTERNAL to the client; the log names its type and place, never its text."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.fail(ValueError("secret"))
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.INTERNAL))
        self.assertLogged(r"puppet: INTERNAL: ValueError at .*\.py:\d+")
        self.assertNotIn("secret", "".join(self.log_lines()))

    def test_tooLong(self) -> None:
        """A reply is cut between characters at the server's limit, says whose limit that is, and ends in a fault."""
        self.factory = self.make_factory(max_reply=1000)
        session = Session(self.factory).open()
        session.say("one")
        self.robot.say("x" * 500, "你" * 300)
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.TOO_LONG))
        text = "".join(event.text for event in session.events if isinstance(event, ReplyReceived))
        self.assertEqual(text, "x" * 500 + "你" * 166 + "\n[the reply exceeds this server's limit of 1000 bytes]\n")
        self.assertLogged("puppet: TOO_LONG: the reply exceeds --max-reply")
        session.say("two")
        self.robot.say("y" * 1000)
        self.robot.end()
        session.pump()
        self.assertEqual(session.events[-1], ReplyReceived(2, "", True))

    def test_halfACharacter(self) -> None:
        """A lone surrogate, which has no UTF-8, becomes a question mark."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.say("a\ud83d")
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "a?", False)])


class PressureTests(ServerTestCase):
    """Clients that send too much or read too little."""

    def test_inboxIsBounded(self) -> None:
        """One message is answered and four wait; further ones are refused, each in its turn."""
        session = Session(self.factory).open()
        for number in range(8):
            session.client.say(str(number))
        session.pump()
        self.assertEqual(session.wire.producerState, "producing")
        self.assertEqual(session.events, [])
        for _ in range(5):
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.asked, ["0", "1", "2", "3", "4"])
        ends = [ReplyReceived(number, "", True) for number in range(1, 6)]
        refused = [FaultReceived(number, Fault.TOO_MANY_MESSAGES) for number in range(6, 9)]
        self.assertEqual(session.events, [*ends, *refused])

    def test_refusalsAreBounded(self) -> None:
        """After sixty-four refusals that wait the client is not read until one has left."""
        session = Session(self.factory).open()
        for number in range(5 + 64):
            self.assertEqual(session.wire.producerState, "producing")
            session.say(str(number))
        self.assertEqual(session.wire.producerState, "paused")
        session.client.say("69")
        session.client.cancel(1)
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertEqual((session.events, self.robot.cancelled), ([], 0))
        for _ in range(4):
            self.robot.end()
            session.pump()
        self.assertEqual(session.wire.producerState, "paused")
        self.robot.end()
        session.pump()
        session.pump()
        self.assertEqual(session.client.next_reply_id, 5 + 64 + 1)
        self.assertEqual(self.robot.asked, ["0", "1", "2", "3", "4", "69"])
        self.assertTrue(session.wire.disconnecting)

    def test_messageRate(self) -> None:
        """Messages over the rate are refused, each in its turn and whatever became of the earlier ones."""
        self.factory = self.make_factory(message_burst=4, message_rate=0.5)
        session = Session(self.factory).open()
        session.say("1")
        session.say("2")
        session.client.cancel(2)
        session.client.cancel(1)
        session.pump()
        for number in range(3, 7):
            session.say(str(number))
        for _ in range(2):
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.asked, ["1", "3", "4"])
        self.assertEqual(
            session.events[-4:],
            [
                *(ReplyReceived(number, "", True) for number in (3, 4)),
                *(FaultReceived(number, Fault.TOO_MANY_MESSAGES) for number in (5, 6)),
            ],
        )
        self.clock.advance(2)
        session.say("7")
        session.say("8")
        self.assertEqual(self.robot.asked[3:], ["7"])

    def test_messageRateOfRefusedOnes(self) -> None:
        """A message for which there is no memory counts for the rate as any other."""
        self.factory = self.make_factory(message_burst=3, max_buffered=8 * 4096, max_message=4096)
        session = Session(self.factory).open()
        for text in ("a" * 4096, "b", "c"):
            session.say(text)
        self.robot.end()
        session.pump()
        session.say("d")
        self.assertEqual(
            session.events[-3:],
            [*(FaultReceived(number, Fault.BUSY) for number in (2, 3)), FaultReceived(4, Fault.TOO_MANY_MESSAGES)],
        )

    def test_messageRateOfOneSource(self) -> None:
        """Anonymous clients and keys that anyone can make share the rate of their source."""
        self.robot.echo = True
        self.factory = self.make_factory(message_burst=2)
        for key in (None, USER_KEY, None):
            Session(self.factory, user_key=key).open().say("x")
        self.assertEqual(len(self.robot.asked), 2)
        Session(self.factory, wire=Wire(IPv4Address("TCP", "192.0.2.8", 1))).open().say("x")
        self.assertEqual(len(self.robot.asked), 3)

    def test_messageRateOfOneUser(self) -> None:
        """An authorized user has a rate of their own, the same in all sessions."""
        self.robot.echo = True
        self.factory = self.make_factory(users=Listed(), message_burst=2)
        for _ in range(3):
            Session(self.factory).open().say("x")
        self.assertEqual(len(self.robot.asked), 2)
        for peer in (CLIENT, IPv4Address("TCP", "192.0.2.8", 1), CLIENT):
            Session(self.factory, user_key=USER_KEY, wire=Wire(peer)).open().say("x")
        self.assertEqual(len(self.robot.asked), 4)

    def test_aPlaceIsFreeWhenItsReplyHasEnded(self) -> None:
        """A cancelled message frees its place once its fault has left, and not while an earlier reply holds it up."""
        session = Session(self.factory).open()
        for number in range(5):
            session.say(str(number))
        session.client.cancel(3)
        session.say("the sixth of five")
        session.client.cancel(1)
        session.pump()
        session.say("the next of five")
        for _ in range(4):
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.asked, ["0", "1", "3", "4", "the next of five"])
        self.assertIn(FaultReceived(6, Fault.TOO_MANY_MESSAGES), session.events)

    def test_repliesAtOnce(self) -> None:
        """Long replies that come at once, more than the outbox holds, keep their order and are whole."""
        self.robot.echo = True
        session = Session(self.factory).open()
        texts = [str(number) * 6000 for number in range(5)]
        for text in texts:
            session.client.say(text)
        session.pump()
        replies = [event for event in session.events if isinstance(event, ReplyReceived)]
        self.assertEqual("".join(event.text for event in replies), "".join(texts))
        self.assertEqual([event.id for event in replies if event.last], list(range(1, 6)))

    def test_memoryIsBounded(self) -> None:
        """A message beyond its source's part of the memory is refused in its turn, and others' messages are not."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session, sibling = Session(self.factory).open(), Session(self.factory).open()
        stranger = Session(self.factory, wire=Wire(IPv4Address("TCP", "192.0.2.8", 5555))).open()
        session.say("a" * 4000)
        session.say("b" * 100)
        for other in (sibling, stranger):
            other.say("c" * 100)
        self.assertEqual(sibling.events, [FaultReceived(1, Fault.BUSY)])
        self.assertEqual(self.robot.asked, ["a" * 4000, "c" * 100])
        self.assertEqual(session.events, [])

    def test_refusedForMemoryInTurn(self) -> None:
        """The refusal waits for the replies before it, takes no place, and can be cancelled."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = Session(self.factory).open()
        session.say("a" * 4000)
        session.say("b" * 100)
        session.say("c" * 100)
        session.client.cancel(3)
        for text in "defgh":
            session.say(text)
        self.assertEqual(session.events, [])
        for _ in range(5):
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.asked, ["a" * 4000, "d", "e", "f", "g"])
        faults = [event for event in session.events if isinstance(event, FaultReceived)]
        self.assertEqual(
            faults,
            [
                FaultReceived(2, Fault.BUSY),
                FaultReceived(3, Fault.CANCELLED),
                FaultReceived(8, Fault.TOO_MANY_MESSAGES),
            ],
        )
        session.say("i" * 4096)
        self.assertEqual(self.robot.asked[-1], "i" * 4096)

    def test_memoryBeforePlaces(self) -> None:
        """A message for which there is neither memory nor a place is refused because of the memory."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = Session(self.factory).open()
        for text in ("a" * 4000, "b", "c", "d", "e", "f" * 100):
            session.say(text)
        for _ in range(5):
            self.robot.end()
            session.pump()
        self.assertEqual(session.events[-1], FaultReceived(6, Fault.BUSY))

    def test_refusalsForMemoryAreBounded(self) -> None:
        """They are counted with the other refusals that wait."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = Session(self.factory).open()
        session.say("a" * 4096)
        for _ in range(64):
            self.assertEqual(session.wire.producerState, "producing")
            session.say("b")
        self.assertEqual(session.wire.producerState, "paused")

    def test_memoryOfThoseWhoLeave(self) -> None:
        """A session that ends gives its memory back, whatever its messages were doing."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        for end in (
            lambda session: session.lose(),
            lambda session: session.server.dataReceived(b"garbage"),
            lambda session: session.server.leave(Reason.STOPPING) or session.lose(),
        ):
            session = Session(self.factory).open()
            session.say("a" * 4000)
            session.say("b" * 96)
            end(session)
        session = Session(self.factory).open()
        session.say("c" * 4096)
        self.assertEqual(self.robot.asked[-1], "c" * 4096)

    def test_aClientThatDoesNotRead(self) -> None:
        """Its robot is not read either; after 30 seconds it is aborted."""
        session = Session(self.factory).open()
        session.say("x")
        session.server.pauseProducing()
        self.robot.say("one")
        self.assertFalse(self.robot.is_waiting)
        self.clock.advance(29)
        session.server.resumeProducing()
        self.assertTrue(self.robot.is_waiting)
        session.server.pauseProducing()
        session.server.pauseProducing()
        self.clock.advance(30.1)
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(timeout\)")
        session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sendBuffer(self) -> None:
        """The kernel buffers 64 KiB for a client that does not read, and not some megabytes."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)

        @implementer(ISystemHandle)
        class SocketWire(Wire):
            def getHandle(self) -> socket.socket:
                return near

        server = self.factory.buildProtocol(CLIENT)
        assert server is not None
        server.makeConnection(SocketWire())
        self.assertLessEqual(near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 2 * 64 * 1024)  # Linux doubles it

    def test_pausedBeforeAnythingWasSaid(self) -> None:
        """A transport may pause a session that has no conversation yet."""
        session = Session(self.factory).open()
        session.server.pauseProducing()
        session.server.resumeProducing()
        session.server.resumeProducing()
        session.server.stopProducing()
        session.say("x")
        self.assertEqual(self.robot.asked, ["x"])

    def test_cancelledWhilePaused(self) -> None:
        """A reply can be cancelled while its client does not read."""
        session = Session(self.factory).open()
        session.say("x")
        session.server.pauseProducing()
        self.robot.say("one")
        session.client.cancel(1)
        session.pump()
        session.server.resumeProducing()
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.CANCELLED))

    def test_nothingIsAskedForAClientThatDoesNotRead(self) -> None:
        """Whatever it says or cancels, no robot is asked and no reply is added to those that it did not read."""
        session = Session(self.factory).open()
        session.say("one")
        session.server.pauseProducing()
        self.robot.say("1")
        for number in range(1, 50):
            session.client.cancel(number)
            session.client.say("x" * 3000)
            session.server.dataReceived(session.client.data_to_send())
            self.clock.advance(0)
        self.assertEqual(self.robot.asked, ["one"])
        self.assertLess(len(session.wire.value()), 50 * 1000)  # a FAULT each
        session.server.resumeProducing()
        session.pump()
        self.assertEqual(session.client.next_reply_id, 50)
        self.assertTrue(self.robot.is_waiting)

    def test_leavingAClientThatIsNotRead(self) -> None:
        """A client whose messages were refused is read again once the server leaves: its goodbye may be there."""
        session = Session(self.factory).open()
        for _ in range(5 + 64 + 3):
            session.say("more")
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertEqual(session.wire.producerState, "paused")
        session.server.leave(Reason.STOPPING)
        session.pump()
        self.assertTrue(session.wire.disconnecting)

    def test_leavingWithMessagesThatWereNotRead(self) -> None:
        """Messages between the refused ones and the client's goodbye do not keep the goodbye from being read."""
        session = Session(self.factory).open()
        for _ in range(5 + 64 + 1):
            session.client.say("more")
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertEqual(session.wire.producerState, "paused")
        session.server.leave(Reason.STOPPING)
        session.pump()
        self.assertTrue(session.wire.disconnecting)

    def test_lateMessages(self) -> None:
        """A message that came while the client was not read does not move the end of the train."""
        self.robot.echo = True
        self.factory = self.make_factory(shaping=Shaping.REPLY)
        session = Session(self.factory).open()
        before = session.client.records_received
        for _ in range(5 + 64):
            session.say("x")
        self.assertEqual(session.wire.producerState, "paused")
        session.say("read after five replies and a refusal, and answered at tick 70")
        for _ in range(200):
            self.clock.advance(0.05)
            session.pump()
        self.assertEqual(session.client.next_reply_id, 71)
        self.assertEqual(session.client.records_received - before, 75)

    def test_repliesThatWaitAreCounted(self) -> None:
        """Faults that leave one each tick do not pile up without end."""
        self.factory = self.make_factory(shaping=Shaping.REPLY)
        session = Session(self.factory).open()
        for number in range(1, 200):
            session.client.say("x")
            session.client.cancel(number)
        session.pump()
        self.assertEqual(session.wire.producerState, "paused")
        self.assertLess(session.server._connection.next_say_id, 100)


class HostilePeerTests(ServerTestCase):
    """Peers that lie, stall or vanish cost themselves their connection and nobody else anything."""

    def test_garbage(self) -> None:
        """Garbage ends the connection: no byte back, one line with the category, the robot not asked."""
        session = Session(self.factory)
        session.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(session.wire.aborted)
        self.assertEqual(session.wire.value(), b"")
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(framing\)")
        session.server.dataReceived(b"more")
        session.lose()
        self.assertEqual(len([line for line in self.log_lines() if "client 1" in line]), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        Session(self.factory).open()

    def test_tamperedKey(self) -> None:
        """A key that is not what its digest says ends the connection; the daemon goes on."""
        session = Session(self.factory)
        hello = bytearray(session.client.data_to_send())
        hello[-1] ^= 1
        session.server.dataReceived(bytes(hello))
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(digest\)")
        Session(self.factory).open()

    def test_noHello(self) -> None:
        """Without a Hello within 5 seconds a client is aborted."""
        session = Session(self.factory)
        self.clock.advance(4.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)

    def test_noProof(self) -> None:
        """Without a proof within 30 seconds of the Welcome a client is aborted."""
        session = Session(self.factory)
        self.clock.advance(4)
        session.server.dataReceived(session.client.data_to_send())
        self.clock.advance(29)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(1.1)
        self.assertTrue(session.wire.aborted)

    def test_shortProofTimeout(self) -> None:
        """The time for the proof may be shorter than what is left of the time for the Hello."""
        self.factory = self.make_factory(hello_timeout=10, proof_timeout=1)
        session = Session(self.factory)
        session.server.dataReceived(session.client.data_to_send())
        self.clock.advance(1.1)
        self.assertTrue(session.wire.aborted)

    def test_oneTimer(self) -> None:
        """A session needs one timer from its handshake on: cancelled ones would wait in the clock's heap."""
        calls = []
        make_call = self.clock.callLater

        def call_later(delay: float, call: Any, *arguments: Any) -> Any:
            calls.append(delay)
            return make_call(delay, call, *arguments)

        self.clock.callLater = call_later  # type: ignore[assignment, method-assign]
        Session(self.factory).open()
        self.assertEqual(len(calls), 1)

    def test_anotherName(self) -> None:
        """A client that dialled another name is refused, one that dialled any of the server's own is not."""
        session = Session(self.factory, name="[example.org]:8080")
        self.assertRaises(AssertionError, session.open)
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(name\)")
        Session(self.factory, name="[127.0.0.1]:8080").open()
        self.factory = self.make_factory(names=("[example.org]:8080",))
        Session(self.factory, name="[example.org]:8080").open()

    def test_vanished(self) -> None:
        """A connection that is lost stops its robot, and says cut in the log."""
        session = Session(self.factory).open()
        session.say("x")
        session.lose()
        self.assertEqual(self.robot.cancelled, 1)
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: ended \(cut\)")
        self.assertEqual(self.factory.sessions, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notLetIn(self) -> None:
        """Over a limit a client is closed at once; it counts no longer when it has gone."""
        self.factory = self.make_factory(max_sessions_per_source=1)
        session = Session(self.factory).open()
        for _ in range(3):
            self.assertIsNone(self.factory.buildProtocol(CLIENT))
        self.assertLogged(r"client 2 from \[192\.0\.2\.7\]:5555: refused \(limit\)")
        session.lose()
        Session(self.factory).open()

    def test_makingRoom(self) -> None:
        """When all handshakes are taken, the oldest of the busiest source is aborted, without a byte."""
        self.factory = self.make_factory(max_handshakes=2)
        oldest, other = Session(self.factory), Session(self.factory)
        newcomer = Session(self.factory, wire=Wire(IPv4Address("TCP", "192.0.2.8", 1)))
        self.assertEqual([session.wire.aborted for session in (oldest, other, newcomer)], [True, False, False])
        self.assertEqual(oldest.wire.value(), b"")
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(limit\)")
        oldest.lose()
        newcomer.open()
        other.open()

    def test_noSessionLeft(self) -> None:
        """A client for which there is no session is aborted once it has proved who it is, and told nothing."""
        self.factory = self.make_factory(max_sessions_per_source=1)
        late = Session(self.factory)
        first = Session(self.factory).open()
        late.pump()
        self.assertTrue(late.wire.aborted)
        self.assertFalse([event for event in late.events if isinstance(event, Admitted)])
        self.assertLogged(r"client 1 from \[192\.0\.2\.7\]:5555: aborted \(limit\)")
        late.lose()
        first.say("x")
        self.assertEqual(self.robot.asked, ["x"])

    def test_usersAreNotCountedByAddress(self) -> None:
        """Authorized users behind one address have sessions of their own; each may have so many."""
        bob = keys.SigningKey.generate()
        users = Listed(USER_KEY, bob)
        self.factory = self.make_factory(users=users, max_sessions_per_source=1, max_sessions_per_user=2)
        for key in (None, USER_KEY, USER_KEY, bob, bob):
            Session(self.factory, user_key=key).open()
        for key in (None, USER_KEY, bob, keys.SigningKey.generate()):
            self.assertRaises(AssertionError, Session(self.factory, user_key=key).open)

    def test_otherTransports(self) -> None:
        """IPv6 has its names; a UNIX socket has only those that were given."""
        wire = Wire(IPv6Address("TCP", "::1", 1), IPv6Address("TCP", "::1", 8080))
        Session(self.factory, wire=wire, name="[::1]:8080").open()
        unix = Wire(UNIXAddress(b""), UNIXAddress(b"/run/chat"))
        self.assertRaises(AssertionError, Session(self.factory, wire=unix).open)
        self.factory = self.make_factory(names=(NAME,))
        Session(self.factory, wire=Wire(UNIXAddress(b""), UNIXAddress(b"/run/chat"))).open()


class EndOfSessionTests(ServerTestCase):
    """Sessions that the server ends."""

    def test_tooOld(self) -> None:
        """After a day the server says so, and closes if the client does not answer."""
        self.robot.echo = True
        session = Session(self.factory).open()
        for _ in range(24 * 2 - 1):
            self.clock.advance(30 * 60)
            session.say("x")
        session.events.clear()
        self.clock.advance(30 * 60)
        down = session.wire.value()
        [goodbye] = list(session.client.receive_data(down))
        self.assertEqual(goodbye, GoodbyeReceived(Reason.TOO_OLD, 47))
        self.clock.advance(5)
        self.assertTrue(session.wire.aborted)

    def test_idle(self) -> None:
        """A session without a message for an hour is closed; PADs, CANCELs and NEWs do not count."""
        self.robot.echo = True
        session = Session(self.factory).open()
        self.clock.advance(3599)
        session.say("x")
        self.clock.advance(3599)
        session.client.pad()
        session.client.cancel(1)
        session.client.start_afresh()
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "x", True)])
        self.clock.advance(1)
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.IDLE, 1))
        self.clock.advance(5)
        self.assertTrue(session.wire.aborted)

    def test_notIdle(self) -> None:
        """A session whose message is not answered is not idle, however long the robot takes."""
        self.factory = self.make_factory(idle_timeout=10)
        session = Session(self.factory).open()
        session.say("x")
        self.clock.pump([9.0] * 5)
        self.robot.say("1")
        self.robot.end()
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "1", False), ReplyReceived(1, "", True)])
        self.clock.pump([10.0] * 2)
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.IDLE, 1))

    def test_refusedForMemoryIsNotIdle(self) -> None:
        """A session whose messages find no memory is not idle either."""
        self.factory = self.make_factory(idle_timeout=10)
        session = Session(self.factory).open()
        self.assertTrue(self.factory.message_memory.all.take(256 * 1024 * 1024))
        for _ in range(3):
            self.clock.advance(9)
            session.say("x")
        self.assertEqual(session.events, [FaultReceived(number, Fault.BUSY) for number in (1, 2, 3)])

    def test_neverIdle(self) -> None:
        """With a timeout of 0, a session may be idle as long as it may last."""
        self.factory = self.make_factory(idle_timeout=0)
        session = Session(self.factory).open()
        self.clock.advance(24 * 60 * 60)
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.TOO_OLD, 0)])

    def test_oneTimer(self) -> None:
        """Messages, however many, do not move the timer that looks for idle sessions."""
        self.robot.echo = True
        session = Session(self.factory).open()
        [call] = self.clock.getDelayedCalls()
        for _ in range(9):
            self.clock.advance(1)
            session.say("x")
            self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.assertEqual(call.getTime(), 3600)

    def test_doesNotWaitForever(self) -> None:
        """A client that said goodbye and does not read the answer is aborted after 5 seconds."""
        session = Session(self.factory).open()
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.clock.advance(4.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)

    def test_stop(self) -> None:
        """A server that stops at once says goodbye to its sessions, waits for them, and lets nobody in."""
        self.factory = self.make_factory(drain=0.0)
        session, half = Session(self.factory).open(), Session(self.factory)
        session.say("x")
        stopped = self.factory.stop()
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])
        self.assertTrue(half.wire.aborted)
        self.assertEqual(self.robot.cancelled, 1)
        self.assertIsNone(self.factory.buildProtocol(CLIENT))
        session.server.leave(Reason.STOPPING)
        self.assertNoResult(stopped)
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertTrue(session.wire.disconnecting)
        session.lose()
        half.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWithoutSessions(self) -> None:
        """Nothing to wait for."""
        self.successResultOf(self.factory.stop())

    def test_withdraw(self) -> None:
        """Those whose key is not authorized any more are sent away, and nobody else."""
        users = Listed()
        self.factory = self.make_factory(users=users)
        session, anonymous = Session(self.factory, user_key=USER_KEY).open(), Session(self.factory).open()
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [])
        users.authorized.clear()
        self.factory.drop_unauthorized()
        session.pump()
        anonymous.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)])
        self.assertEqual(anonymous.events, [])
        self.assertIs(session.server._connection.state, State.OPEN)
