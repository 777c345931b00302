"""The client's Protocol with the server's, over a pair of transports in memory."""

from dataclasses import replace
from functools import partial
from typing import Any, cast
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import exit_code
from securechat.client.protocol import ChatClient, Successors
from securechat.client.session_errors import PermissionDeniedError
from securechat.client.signer import Signer
from securechat.errors import (
    AuthenticationError,
    Category,
    ConfigurationError,
    Fault,
    RemoteProtocolError,
    RobotError,
    SecureChatError,
)
from securechat.robots.interface import IRobot
from securechat.server.factory import ChatServerFactory
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.ssh import keys
from securechat.wire.events import GoodbyeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.host_keys import hint_of
from securechat.wire.messages import ClientAuth, Reason
from securechat.wire.shaping import Shaping
from tests.harness.pair import HOST_KEY, NAME, PQ, USER_KEY, accept, ephemeral_key, identity
from tests.harness.passive_server import Diary
from tests.harness.robot import PuppetRobot


class ClientTestCase(SynchronousTestCase):
    """A client, and a server with a puppet robot."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.robot = PuppetRobot()
        self.diary = Diary()
        self.client_auth = ClientAuth.OPTIONAL
        self.next_host_key: keys.SigningKey | None = None
        self.successors: Successors | None = None

    shaping = Shaping.OFF

    def tearDown(self) -> None:
        if hasattr(self, "factory"):
            for session in list(self.factory.sessions):
                session.connectionLost()

    def connect(self, signer: Signer | None = None, *, name: str = NAME) -> Any:
        """Connect a client; no data is delivered yet."""
        self.factory = ChatServerFactory(
            ServerSettings(names=(NAME,), shaping=self.shaping, tick=0.125),
            replace(identity(self.client_auth), next_host_key=self.next_host_key),
            Anyone(),
            cast(IRobot, self.robot),
            self.clock,
            self.clock.seconds,
        )
        server = self.factory.buildProtocol(FakeTransport(None, True).getPeer())
        assert server is not None
        handshake = ClientHandshake(PQ, ephemeral_key(PQ), name, accept, signer.blob if signer else b"")
        self.handshake = ref(handshake)
        self.client = ChatClient(handshake, signer, self.diary, self.clock)
        self.client.successors = self.successors
        self.client_end, self.server_end = FakeTransport(self.client, False), FakeTransport(server, True)
        self.pump = connect(server, self.server_end, self.client, self.client_end)
        return self.pump

    def open(self) -> None:
        self.connect().flush()
        self.assertIsNotNone(self.diary.about)


class FakeSuccessors:
    """Wants any next host key, or none."""

    def __init__(self, *, wants: bool = True) -> None:
        self.asked: list[str] = []
        self.learned: list[tuple[bytes, bytes]] = []
        self._wants = wants

    def wants(self, hint: str) -> bool:
        self.asked.append(hint)
        return self._wants

    def learn(self, present: bytes, successor: bytes) -> None:
        self.learned.append((present, successor))


class SuccessorTests(ClientTestCase):
    """A server that has announced its next host key."""

    def talk(self, successors: FakeSuccessors | None, next_host_key: keys.SigningKey | None) -> None:
        self.successors, self.next_host_key = successors, next_host_key
        self.open()
        self.client.say("hello")
        self.pump.flush()

    def test_learned(self) -> None:
        """The client requests it with the first message, if it can store it."""
        successor, successors = keys.SigningKey.generate(), FakeSuccessors()
        self.talk(successors, successor)
        self.assertEqual(successors.asked, [hint_of(successor.blob)])
        self.assertEqual(successors.learned, [(HOST_KEY.blob, successor.blob)])
        self.client.say("again")
        self.pump.flush()
        self.assertEqual(len(successors.learned), 1)

    def test_notWanted(self) -> None:
        """The client does not request a key that it does not store, or that was not announced."""
        successor = keys.SigningKey.generate()
        for successors, next_host_key, asked in (
            (FakeSuccessors(wants=False), successor, [hint_of(successor.blob)]),
            (FakeSuccessors(), None, []),
        ):
            self.talk(successors, next_host_key)
            self.assertEqual((successors.asked, successors.learned), (asked, []))
            self.assertEqual(self.robot.asked[-1], "hello")
            self.tearDown()
            self.setUp()
        self.talk(None, successor)
        self.assertEqual(self.robot.asked, ["hello"])


class TalkTests(ClientTestCase):
    """Sessions without errors."""

    def test_saysEachStep(self) -> None:
        """The user is told each step of the handshake, with the server's fingerprint."""
        self.open()
        self.assertEqual(
            self.diary.steps,
            [
                "sent the public key with its SHA-256",
                "received and decrypted the session key",
                f"verified the server's host key {keys.fingerprint(HOST_KEY.blob)}",
                "continuing anonymously",
            ],
        )
        assert self.diary.about is not None
        self.assertEqual(self.diary.about.robot, "puppet")

    def test_talks(self) -> None:
        """A reply arrives in pieces; a message may be sent during a reply, and after starting a new conversation."""
        self.open()
        self.assertEqual(self.client.say("one"), 1)
        self.pump.flush()
        self.robot.say("1")
        self.assertEqual(self.client.say("two"), 2)
        self.client.startAfresh()
        self.assertEqual(self.client.say("three"), 3)
        self.pump.flush()
        self.robot.end()
        self.clock.advance(0)
        self.robot.fail(RobotError(Fault.BUSY, ""))
        self.clock.advance(0)
        self.pump.flush()
        self.assertEqual(self.diary.replies, [(1, "1", False), (1, "", True)])
        self.assertEqual(self.diary.faults, [(2, Fault.BUSY)])
        self.assertEqual(self.robot.turns[-1], ["three"])

    def test_cancels(self) -> None:
        """A cancelled reply ends in a fault."""
        self.open()
        self.client.cancel(self.client.say("one"))
        self.pump.flush()
        self.assertEqual(self.diary.faults, [(1, Fault.CANCELLED)])

    def test_dropsTheHandshake(self) -> None:
        """After admission, the handshake and its keys are dropped."""
        self.open()
        self.assertIsNone(self.handshake())

    def test_dropsAFailedHandshake(self) -> None:
        """After a failed handshake its keys are dropped, although the user keeps the error."""
        self.client_auth = ClientAuth.REQUIRED
        self.connect().flush()
        self.assertEqual(len(self.diary.ends), 1)
        self.assertIsNone(self.handshake())

    def test_leaves(self) -> None:
        """Leaving sends GOODBYE once, and the session ends without a reason."""
        self.open()
        self.client.leave()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leavesEarly(self) -> None:
        """Leaving before admission closes the connection."""
        self.connect()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_serverLeaves(self) -> None:
        """The client answers the server's GOODBYE, and reports its reason."""
        self.open()
        self.factory.stop()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [GoodbyeReceived(Reason.STOPPING, 0)])
        self.assertEqual(self.factory.sessions, set())


class QuietTestCase(ClientTestCase):
    """A train with a tick of 125 ms."""

    shaping = Shaping.REPLY

    def ask(self) -> int:
        """Send a message whose reply has not ended; its id."""
        message_id = self.client.say("x")
        self.pump.flush()
        self.robot.say("y")
        return message_id

    def talk(self) -> None:
        """Open a session, and exchange a message for a reply of two records."""
        self.open()
        self.ask()
        self.robot.end()
        self.pass_time(0.25)
        self.assertTrue(self.diary.replies[-1][2])

    def pass_time(self, seconds: float) -> None:
        for _tick in range(int(seconds * 8)):
            self.clock.advance(0.125)
            self.pump.flush()


class RoomTests(QuietTestCase):
    """Waiting until messages can be sent without revealing the length of a reply."""

    def test_first(self) -> None:
        """The first messages of a session do not wait."""
        self.open()
        self.assertEqual(self.successResultOf(self.client.room()), 5)

    def test_afterTheTrain(self) -> None:
        """The next messages wait for the end of the train, and five ticks more."""
        self.talk()
        room = self.client.room()
        self.pass_time(6.75 - 0.25)
        self.assertNoResult(room)
        self.pass_time(0.125)
        self.assertEqual(self.successResultOf(room), 5)

    def test_afterAFault(self) -> None:
        """A reply that fails ends as any other."""
        self.open()
        self.ask()
        self.robot.fail(RobotError(Fault.BUSY, ""))
        room = self.client.room()
        self.pass_time(6.75)
        self.assertNoResult(room)
        self.pass_time(0.125)
        self.successResultOf(room)

    def test_inOneWrite(self) -> None:
        """The records of a message are passed to the transport together."""
        self.open()
        writes: list[bytes] = []
        self.patch(self.client_end, "write", writes.append)
        self.client.say("x" * 5000)
        self.assertEqual([len(data) for data in writes], [16 * (4 + PQ.record_size)])

    def test_closed(self) -> None:
        """Nobody is told to send when the session is over."""
        self.talk()
        room = self.client.room()
        self.factory.stop()
        self.pass_time(30)
        self.assertNoResult(room)
        self.assertNoResult(self.client.room())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class QuietLeavingTests(QuietTestCase):
    """Leaving without revealing the length of the last reply."""

    def test_afterTheTrain(self) -> None:
        """The client leaves when the train has ended, and five ticks more have passed."""
        self.talk()
        left = self.client.leaveQuietly()
        self.pass_time(6.75 - 0.25)
        self.assertEqual((self.diary.ends, left.called), ([], False))
        self.pass_time(0.125)
        self.assertEqual((self.diary.ends, left.called), ([None], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long(self) -> None:
        """The client leaves at once if the last train ended long ago."""
        self.talk()
        self.pass_time(10)
        self.successResultOf(self.client.leaveQuietly())
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_nothingSent(self) -> None:
        """The client leaves at once if it has sent no message."""
        self.open()
        self.successResultOf(self.client.leaveQuietly())
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_notAdmitted(self) -> None:
        """Before admission, the connection is closed."""
        self.connect()
        self.successResultOf(self.client.leaveQuietly())
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_endlessTrain(self) -> None:
        """With an endless train, the client leaves where a train could end."""
        self.shaping = Shaping.CONSTANT
        self.talk()
        self.client.leaveQuietly()
        self.pass_time(5.75)
        self.assertEqual(self.diary.ends, [])
        self.pass_time(0.5)
        self.assertEqual(self.diary.ends, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noTrain(self) -> None:
        """Without trains, the client leaves at once."""
        self.shaping = Shaping.OFF
        self.talk()
        self.successResultOf(self.client.leaveQuietly())

    def test_incompleteReplies(self) -> None:
        """Replies that are not complete are cancelled at once."""
        self.open()
        self.ask()
        self.client.say("z")
        self.client.leaveQuietly()
        self.pump.flush()
        self.assertEqual(self.robot.cancelled, 1)
        self.pass_time(10)
        self.assertEqual(self.diary.faults, [(1, Fault.CANCELLED), (2, Fault.CANCELLED)])
        self.assertEqual(self.diary.ends, [None])

    def test_leavesAtOnce(self) -> None:
        """The wait can be ended."""
        self.talk()
        self.client.leaveQuietly()
        self.client.leave()
        self.successResultOf(self.client.leaveQuietly())
        self.pass_time(0.375)
        self.assertEqual(self.diary.ends, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_theServerIsFaster(self) -> None:
        """The server's GOODBYE ends the wait."""
        self.talk()
        self.client.leaveQuietly()
        self.pass_time(1)
        for session in self.factory.sessions:
            session.leave(Reason.STOPPING)
        self.pass_time(0.375)
        self.assertEqual(self.diary.ends, [GoodbyeReceived(Reason.STOPPING, 1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DeadLineTests(QuietTestCase):
    """Connections through which nothing arrives any more."""

    def test_unanswered(self) -> None:
        """The session ends with an error if nothing arrives for 30 seconds while a message is unanswered."""
        self.open()
        self.client.say("x")
        self.clock.advance(29.875)
        self.assertFalse(self.client_end.disconnecting)
        self.clock.advance(0.25)
        self.pump.flush()
        [end] = self.diary.ends
        assert isinstance(end, SecureChatError)
        self.assertEqual(str(end), "timed out: the server has sent nothing for 30 seconds")
        self.assertEqual(exit_code(end, admitted=True), exit_code(RemoteProtocolError(Category.CUT), admitted=True))

    def test_answered(self) -> None:
        """A session without an unanswered message may be silent."""
        self.talk()
        self.pass_time(600)
        self.assertEqual(self.diary.ends, [])

    def test_longMessage(self) -> None:
        """The 30 seconds begin when the transport has written the message."""
        self.open()
        self.client.say("x")
        self.client.pauseProducing()
        self.clock.advance(100)
        self.client.resumeProducing()
        self.clock.advance(29.875)
        self.assertFalse(self.client_end.disconnecting)
        self.clock.advance(0.25)
        self.assertTrue(self.client_end.disconnecting)


class SigningTests(ClientTestCase):
    """Sessions with a user key."""

    def test_atOnce(self) -> None:
        """A key in memory signs at once."""
        self.connect(Signer(USER_KEY.blob, USER_KEY.sign)).flush()
        assert self.diary.about is not None
        self.assertEqual(self.diary.about.user, keys.fingerprint(USER_KEY.blob))
        self.assertEqual(self.diary.steps[-1], "proved possession of the user key")

    def test_later(self) -> None:
        """A signature may arrive later."""
        signature: Deferred[bytes] = Deferred()
        asked: list[bytes] = []

        def sign(data: bytes) -> Deferred[bytes]:
            asked.append(data)
            return signature

        self.connect(Signer(USER_KEY.blob, sign)).flush()
        self.clock.advance(20)
        signature.callback(USER_KEY.sign(asked[0]))
        self.pump.flush()
        self.assertIsNotNone(self.diary.about)

    def test_refusal(self) -> None:
        """A signer's error ends the session and is reported."""
        signature: Deferred[bytes] = Deferred()
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        signature.errback(ConfigurationError("declined"))
        self.pump.flush()
        [end] = self.diary.ends
        self.assertIsInstance(end, ConfigurationError)

    def test_anyOtherFailure(self) -> None:
        """Any exception during signing ends the session."""

        def sign(data: bytes) -> bytes:
            raise OSError("broken pipe")

        self.connect(Signer(USER_KEY.blob, sign)).flush()
        [end] = self.diary.ends
        self.assertIsInstance(end, AuthenticationError)
        self.assertEqual(str(end), "broken pipe")

    def test_wrongSignature(self) -> None:
        """An incorrect signature is not sent."""
        self.connect(Signer(USER_KEY.blob, lambda data: bytes(64))).flush()
        [end] = self.diary.ends
        self.assertIn("signature", str(end))

    def test_serverDoesNotWait(self) -> None:
        """If the server times out during signing, the signer is cancelled, and a late signature is ignored."""
        cancelled: list[object] = []
        signature: Deferred[bytes] = Deferred(cancelled.append)
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        self.clock.advance(31)
        self.pump.flush()
        self.assertEqual(len(cancelled), 1)
        [end] = self.diary.ends
        self.assertEqual(str(end), "the connection was closed unexpectedly")

    def test_leavesMeanwhile(self) -> None:
        """Leaving during signing is not reported as an error."""
        self.connect(Signer(USER_KEY.blob, lambda data: Deferred())).flush()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_lateAnswer(self) -> None:
        """A signature that arrives after the connection was closed is ignored."""
        signature: Deferred[bytes] = Deferred(lambda deferred: deferred.callback(bytes(64)))
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        self.clock.advance(31)
        self.pump.flush()
        self.assertEqual(len(self.diary.ends), 1)


class KeyTests(ClientTestCase):
    """What the user is told about the key."""

    def test_offered(self) -> None:
        """The key that is offered is named before it signs."""
        self.connect(Signer(USER_KEY.blob, lambda data: Deferred())).flush()
        self.assertEqual(self.diary.steps[-1], f"offering public key ED25519 {keys.fingerprint(USER_KEY.blob)}")

    def test_denied(self) -> None:
        """A client whose key is refused names the key."""
        self.connect(Signer(USER_KEY.blob, USER_KEY.sign), name="[example.org]:1").flush()
        [end] = self.diary.ends
        self.assertIsInstance(end, PermissionDeniedError)
        self.assertIn(f"your key {keys.fingerprint(USER_KEY.blob)} is not authorized", str(end))

    def test_notAccepted(self) -> None:
        """The user is told if the server takes no keys, so that the client is anonymous in spite of its key."""
        self.client_auth = ClientAuth.NONE
        self.connect(Signer(USER_KEY.blob, USER_KEY.sign)).flush()
        self.assertEqual(self.diary.steps[-2:], ["the server does not accept user keys", "continuing anonymously"])


class HoldTests(QuietTestCase):
    """A user whose output is not read."""

    def test_hold(self) -> None:
        """Nothing is read from the transport while the user cannot take it, and the server is not considered dead."""
        self.open()
        self.ask()
        calls: list[str] = []
        for name in ("pauseProducing", "resumeProducing"):  # those of FakeTransport do nothing
            setattr(self.client_end, name, partial(calls.append, name))
        self.client.holdReading(True)
        self.assertEqual(calls, ["pauseProducing"])
        self.clock.advance(100)
        self.assertFalse(self.client_end.disconnecting)
        self.client.holdReading(False)
        self.assertEqual(calls, ["pauseProducing", "resumeProducing"])
        self.pump.flush()
        self.assertEqual(self.diary.replies, [(1, "y", False)])

    def test_closed(self) -> None:
        """A transport that is closed is left alone."""
        self.client = ChatClient(ClientHandshake(PQ, ephemeral_key(PQ), NAME, accept), None, self.diary, self.clock)
        transport = StringTransport()
        self.client.makeConnection(transport)
        self.client.connectionLost()
        self.client.holdReading(True)
        self.assertEqual(transport.producerState, "producing")


class TroubleTests(ClientTestCase):
    """Sessions that fail, and the errors that the user is told."""

    def alone(self) -> None:
        """Connect a client to a server that sends nothing."""
        self.client = ChatClient(ClientHandshake(PQ, ephemeral_key(PQ), NAME, accept), None, self.diary, self.clock)
        self.client.makeConnection(StringTransport())

    def end(self) -> SecureChatError:
        [end] = self.diary.ends
        assert isinstance(end, SecureChatError)
        return end

    def test_silence(self) -> None:
        """The client gives up after 30 seconds without a Welcome."""
        self.alone()
        self.clock.advance(30)
        self.client.connectionLost()
        self.assertEqual(str(self.end()), "timed out waiting for the server")

    def test_garbage(self) -> None:
        """Data that is not a Welcome ends the session, and nothing is sent."""
        self.connect()
        self.client.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        self.client.dataReceived(b"more")
        self.pump.flush()
        self.assertEqual(cast(AuthenticationError, self.end()).category, Category.FRAMING)

    def test_closedDuringTheHandshake(self) -> None:
        """A connection closed before the server's PROOF is reported as such."""
        self.alone()
        self.client.connectionLost()
        self.assertEqual(str(self.end()), "the server closed the connection during the handshake")

    def test_permissionDenied(self) -> None:
        """A connection closed after the client's PROOF is reported as permission denied."""
        self.connect(name="[example.org]:1").flush()
        self.assertIsInstance(self.end(), AuthenticationError)
        self.assertEqual(
            str(self.end()),
            "[example.org]:1: Permission denied; the server is not configured for this name, "
            "has reached its limit of sessions, or requires a key: use -i FILE or --agent",
        )

    def test_keyRequired(self) -> None:
        """A client without a key reports that the server requires one."""
        self.client_auth = ClientAuth.REQUIRED
        self.connect().flush()
        self.assertEqual(str(self.end()), "the server requires public key authentication; use -i FILE or --agent")

    def test_cut(self) -> None:
        """The end of the stream without GOODBYE is an error."""
        self.open()
        self.server_end.abortConnection()
        self.pump.flush()
        self.assertEqual(str(self.end()), "the connection was closed unexpectedly")
        self.assertEqual(self.clock.getDelayedCalls(), [])
