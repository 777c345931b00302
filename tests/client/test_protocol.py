"""The client's Protocol and the server's, both real, over a pair of transports in memory."""

from typing import Any, cast
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.protocol import ChatClient, Signer
from securechat.errors import AuthenticationError, Category, ConfigurationError, Fault, RobotError, SecureChatError
from securechat.robots.interface import IRobot
from securechat.server.protocol import ChatServerFactory, ServerSettings
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.users import Anyone
from securechat.ssh import keys
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import ClientAuth, Reason
from securechat.wire.shaping import Shaping
from tests.harness.pair import HOST_KEY, NAME, PQ, USER_KEY, accept, ephemeral_key, identity
from tests.harness.robot import PuppetRobot


class Diary:
    """A ChatUser that writes down what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.about: Admitted | None = None
        self.replies: list[tuple[int, str, bool]] = []
        self.faults: list[tuple[int, Fault]] = []
        self.ends: list[SecureChatError | GoodbyeReceived | None] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self.about = about

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        self.replies.append((message_id, text, last))

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        self.faults.append((message_id, fault))

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        self.ends.append(reason)


class ClientTestCase(SynchronousTestCase):
    """A server with a puppet, and clients."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.robot = PuppetRobot()
        self.diary = Diary()
        self.client_auth = ClientAuth.OPTIONAL

    shaping = Shaping.OFF

    def tearDown(self) -> None:
        if hasattr(self, "factory"):
            for session in list(self.factory.sessions):
                session.connectionLost()

    def connect(self, signer: Signer | None = None, *, name: str = NAME) -> Any:
        """Connect a client; nothing is carried yet."""
        chat = ServerSettings(
            identity(self.client_auth),
            Anyone(),
            Pseudonyms(HOST_KEY),
            cast(IRobot, self.robot),
            names={NAME},
            shaping=self.shaping,
            tick=0.125,
        )
        self.factory = ChatServerFactory(chat, self.clock, self.clock.seconds)
        server = self.factory.buildProtocol(FakeTransport(None, True).getPeer())
        assert server is not None
        handshake = ClientHandshake(PQ, ephemeral_key(PQ), name, accept, signer.blob if signer else b"")
        self.handshake = ref(handshake)
        self.client = ChatClient(handshake, signer, self.diary, self.clock)
        self.client_end, self.server_end = FakeTransport(self.client, False), FakeTransport(server, True)
        self.pump = connect(server, self.server_end, self.client, self.client_end)
        return self.pump

    def open(self) -> None:
        self.connect().flush()
        self.assertIsNotNone(self.diary.about)


class TalkTests(ClientTestCase):
    """A session that goes well."""

    def test_saysEachStep(self) -> None:
        """The user hears each step of the key exchange, and who the server is."""
        self.open()
        self.assertEqual(
            self.diary.steps,
            [
                "sent the public key with its SHA-256",
                "the session key came unharmed and was decrypted",
                f"the server proved that it has the key {keys.fingerprint(HOST_KEY.blob)}",
                "stayed anonymous",
            ],
        )
        assert self.diary.about is not None
        self.assertEqual(self.diary.about.robot, "puppet")

    def test_talks(self) -> None:
        """A message is answered, piece by piece; another while it runs; a third after starting afresh."""
        self.open()
        self.assertEqual(self.client.say("one"), 1)
        self.pump.flush()
        self.robot.say("1")
        self.assertEqual(self.client.say("two"), 2)
        self.client.startAfresh()
        self.assertEqual(self.client.say("three"), 3)
        self.pump.flush()
        self.robot.end()
        self.robot.fail(RobotError(Fault.BUSY, ""))
        self.pump.flush()
        self.assertEqual(self.diary.replies, [(1, "1", False), (1, "", True)])
        self.assertEqual(self.diary.faults, [(2, Fault.BUSY)])
        self.assertEqual(self.robot.turns[-1], ["three"])

    def test_cancels(self) -> None:
        """A reply that is not wanted any more ends in a fault."""
        self.open()
        self.client.cancel(self.client.say("one"))
        self.pump.flush()
        self.assertEqual(self.diary.faults, [(1, Fault.CANCELLED)])

    def test_forgetsTheHandshake(self) -> None:
        """Once let in, nobody holds the keys that all others of the session could be made from."""
        self.open()
        self.assertIsNone(self.handshake())

    def test_forgetsAFailedHandshake(self) -> None:
        """Nor does a client that failed, although its user holds the error."""
        self.client_auth = ClientAuth.REQUIRED
        self.connect().flush()
        self.assertEqual(len(self.diary.ends), 1)
        self.assertIsNone(self.handshake())

    def test_leaves(self) -> None:
        """Leaving says goodbye, once, and the session ends without a reason."""
        self.open()
        self.client.leave()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leavesAServerThatDoesNotAnswer(self) -> None:
        """A goodbye that is not answered within 5 seconds is enough."""
        self.open()
        self.client.leave()
        self.clock.advance(5)
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_leavesEarly(self) -> None:
        """Leaving before the server has let us in just closes."""
        self.connect()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_isSentAway(self) -> None:
        """The server's goodbye is answered, and its reason is the end."""
        self.open()
        self.factory.stop()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [GoodbyeReceived(Reason.STOPPING, 0)])
        self.assertEqual(self.factory.sessions, set())

    def test_tooOld(self) -> None:
        """A session ends within a day, if the server's clock does not do it, by the client's."""
        self.open()
        self.clock.advance(24 * 60 * 60)
        self.pump.flush()
        self.assertEqual(len(self.diary.ends), 1)


class QuietLeavingTests(ClientTestCase):
    """Whoever leaves when a reply has come would tell how long it was."""

    shaping = Shaping.REPLY

    def talk(self, seconds: float) -> None:
        """A message, its answer at once, the client's wish to leave, and so much time."""
        self.open()
        self.client.say("x")
        self.pump.flush()
        self.robot.say("y")
        self.robot.end()
        self.pass_time(0.25)
        self.pump.flush()
        self.assertTrue(self.diary.replies)
        self.client.leaveQuietly()
        self.pass_time(seconds - 0.25)

    def pass_time(self, seconds: float) -> None:
        for _eighth in range(int(seconds * 8)):
            self.clock.advance(0.125)
            self.pump.flush()

    def test_withTheTrain(self) -> None:
        """The client leaves after the train's last record, and not before."""
        self.talk(49 * 0.125)
        self.assertEqual(self.diary.ends, [])
        self.pass_time(0.125)
        self.assertEqual(self.diary.ends, [None])
        self.assertEqual(self.client._connection.records_received, 50 + 3)  # PROOF, ABOUT and GOODBYE
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anEndlessTrain(self) -> None:
        """Where records never end, the client leaves where they could."""
        self.shaping = Shaping.CONSTANT
        self.talk(52 * 0.125)
        self.assertEqual(self.diary.ends, [None])

    def test_noTrain(self) -> None:
        """Where there is none, half a second without a record is enough."""
        self.shaping = Shaping.OFF
        self.talk(0.625)
        self.assertEqual(self.diary.ends, [])
        self.pass_time(0.125)
        self.assertEqual(self.diary.ends, [None])

    def test_theServerIsFaster(self) -> None:
        """Being sent away ends the waiting."""
        self.talk(1)
        self.factory.stop()
        self.pass_time(0.375)
        self.assertEqual(self.diary.ends, [GoodbyeReceived(Reason.STOPPING, 1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SigningTests(ClientTestCase):
    """Users with keys."""

    def test_atOnce(self) -> None:
        """A key in memory signs at once."""
        self.connect(Signer(USER_KEY.blob, USER_KEY.sign)).flush()
        assert self.diary.about is not None
        self.assertEqual(self.diary.about.user, keys.fingerprint(USER_KEY.blob))
        self.assertEqual(self.diary.steps[-1], "proved our own key")

    def test_later(self) -> None:
        """An agent may take its time."""
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
        """An agent that refuses ends the session with its own words."""
        signature: Deferred[bytes] = Deferred()
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        signature.errback(ConfigurationError("refused"))
        self.pump.flush()
        [end] = self.diary.ends
        self.assertIsInstance(end, ConfigurationError)

    def test_anyOtherFailure(self) -> None:
        """Whatever goes wrong with signing ends the session."""

        def sign(data: bytes) -> bytes:
            raise OSError("broken pipe")

        self.connect(Signer(USER_KEY.blob, sign)).flush()
        [end] = self.diary.ends
        self.assertIsInstance(end, AuthenticationError)
        self.assertEqual(str(end), "broken pipe")

    def test_wrongSignature(self) -> None:
        """A signature that does not verify is not sent."""
        self.connect(Signer(USER_KEY.blob, lambda data: bytes(64))).flush()
        [end] = self.diary.ends
        self.assertIn("signature", str(end))

    def test_serverDoesNotWait(self) -> None:
        """A server that gives up while the agent asks its user cancels the question; a late answer does nothing."""
        cancelled: list[object] = []
        signature: Deferred[bytes] = Deferred(cancelled.append)
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        self.clock.advance(31)
        self.pump.flush()
        self.assertEqual(len(cancelled), 1)
        [end] = self.diary.ends
        self.assertEqual(str(end), "the connection was cut")

    def test_leavesMeanwhile(self) -> None:
        """Whoever leaves while the agent asks is told of no error."""
        self.connect(Signer(USER_KEY.blob, lambda data: Deferred())).flush()
        self.client.leave()
        self.pump.flush()
        self.assertEqual(self.diary.ends, [None])

    def test_lateAnswer(self) -> None:
        """A signature that comes after the connection has gone is dropped."""
        signature: Deferred[bytes] = Deferred(lambda deferred: deferred.callback(bytes(64)))
        self.connect(Signer(USER_KEY.blob, lambda data: signature)).flush()
        self.clock.advance(31)
        self.pump.flush()
        self.assertEqual(len(self.diary.ends), 1)


class TroubleTests(ClientTestCase):
    """What the user is told when it does not go well."""

    def alone(self) -> None:
        """Connect a client to a server that says nothing."""
        self.client = ChatClient(ClientHandshake(PQ, ephemeral_key(PQ), NAME, accept), None, self.diary, self.clock)
        self.client.makeConnection(StringTransport())

    def end(self) -> SecureChatError:
        [end] = self.diary.ends
        assert isinstance(end, SecureChatError)
        return end

    def test_silence(self) -> None:
        """A server that does not answer the Hello is given up after 30 seconds."""
        self.alone()
        self.clock.advance(30)
        self.client.connectionLost()
        self.assertEqual(str(self.end()), "the server did not answer in time")

    def test_garbage(self) -> None:
        """What is no Welcome ends the session; nothing is sent back."""
        self.connect()
        self.client.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        self.client.dataReceived(b"more")
        self.pump.flush()
        self.assertEqual(cast(AuthenticationError, self.end()).category, Category.FRAMING)

    def test_closedBeforeItProvedItself(self) -> None:
        """An end of stream before the server's proof says that it was before."""
        self.alone()
        self.client.connectionLost()
        self.assertEqual(str(self.end()), "the server closed the connection before it had proved itself")

    def test_refusedAfterTheProof(self) -> None:
        """A server that proved itself and then closes has refused; the user hears what the reason can be."""
        self.connect(name="[example.org]:1").flush()
        self.assertIsInstance(self.end(), AuthenticationError)
        self.assertEqual(
            str(self.end()),
            "the server proved itself, then refused: your key is not in its authorized keys, "
            "or it does not know itself by the name [example.org]:1",
        )

    def test_keyWanted(self) -> None:
        """A server that wants a key is left by a client that has none."""
        self.client_auth = ClientAuth.REQUIRED
        self.connect().flush()
        self.assertEqual(str(self.end()), "the server requires public key authentication; use -i FILE or --agent")

    def test_cut(self) -> None:
        """An end of stream without a goodbye is a cut, whatever was being said."""
        self.open()
        self.server_end.abortConnection()
        self.pump.flush()
        self.assertEqual(str(self.end()), "the connection was cut")
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])
