"""The client's Protocol with a server that does nothing of its own accord: deadlines, endings, what is sent when."""

from collections.abc import Callable

from msgspec import Raw
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.signer import Signer
from securechat.errors import AuthenticationError, Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.ssh import keys
from securechat.wire.events import CancelReceived, ClientProved, Event, GoodbyeReceived, MessageReceived, NewReceived
from securechat.wire.handshake import ServerHandshake
from securechat.wire.messages import SERVER_PROOF, ClientAuth, Reason, ServerBody, decode, encode
from tests.harness.pair import ABOUT, HOST_KEY, NAME, USER_KEY, identity
from tests.harness.passive_server import OFF, Meeting

DAY = 86_400.0  # seconds
MOMENT = 1 / 128  # seconds


def nothing(meeting: Meeting) -> None:
    """Leave a client that has just connected as it is."""


def welcome(meeting: Meeting) -> None:
    """The Welcome arrives, without the PROOF that the server sends with it."""
    meeting.carry_up()
    frame = meeting.server.data_to_send()
    meeting.client.dataReceived(frame[: 4 + int.from_bytes(frame[:4], "big")])


def speak(meeting: Meeting) -> None:
    meeting.open()
    meeting.client.say("x")


def leave(meeting: Meeting) -> None:
    meeting.open().client.leave()


def be_left(meeting: Meeting) -> None:
    meeting.open().server.goodbye(Reason.STOPPING, 0)
    meeting.carry_down()


STAGES: dict[str, Callable[[Meeting], object]] = {
    "hello": nothing,
    "welcome": welcome,
    "about": Meeting.prove,
    "open": Meeting.open,
    "speaking": speak,
    "leaving": leave,
    "left": be_left,
}


class MeetingTestCase(SynchronousTestCase):
    def assertAborts(self, meeting: Meeting, seconds: float) -> None:
        """The client aborts after this time, and not before."""
        meeting.clock.advance(seconds - MOMENT)
        self.assertFalse(meeting.wire.aborted)
        meeting.clock.advance(2 * MOMENT)
        self.assertTrue(meeting.wire.aborted)

    def end(self, meeting: Meeting) -> RemoteProtocolError:
        """The error with which the session has ended."""
        meeting.client.connectionLost()
        [end] = meeting.diary.ends
        assert isinstance(end, RemoteProtocolError)
        return end

    def assertTimesOut(self, meeting: Meeting, seconds: float) -> None:
        """The client gives up the handshake after this time, and says nothing to the server."""
        meeting.wire.clear()
        self.assertAborts(meeting, seconds)
        self.assertEqual(meeting.wire.value(), b"")
        end = self.end(meeting)
        self.assertEqual((end.category, isinstance(end, AuthenticationError)), (Category.TIMEOUT, False))
        self.assertIn("timed out", str(end))
        self.assertEqual(meeting.clock.getDelayedCalls(), [])


class HandshakeDeadlineTests(MeetingTestCase):
    """A server that falls silent during the handshake."""

    def test_welcome(self) -> None:
        """The client waits 30 seconds for the Welcome."""
        self.assertTimesOut(Meeting(), 30)

    def test_proof(self) -> None:
        """The server's PROOF is part of the same response."""
        meeting = Meeting()
        meeting.clock.advance(20)
        welcome(meeting)
        self.assertTimesOut(meeting, 10)

    def test_about(self) -> None:
        """From its own PROOF, the client waits another 30 seconds."""
        meeting = Meeting()
        meeting.clock.advance(20)
        self.assertTimesOut(meeting.prove(), 30)

    def test_signing(self) -> None:
        """No timeout of the client runs while an agent asks its user, and one does when the signature is there."""
        signature: Deferred[bytes] = Deferred()
        asked: list[bytes] = []

        def sign(data: bytes) -> Deferred[bytes]:
            asked.append(data)
            return signature

        meeting = Meeting(signer=Signer(USER_KEY.blob, sign)).prove()
        self.assertEqual(meeting.clock.getDelayedCalls(), [])
        meeting.clock.advance(1000)
        self.assertFalse(meeting.wire.aborted)
        signature.callback(USER_KEY.sign(asked[0]))
        self.assertEqual(meeting.carry_up(), [ClientProved(USER_KEY.blob)])
        self.assertTimesOut(meeting, 30)

    def test_late(self) -> None:
        """What arrives after a timeout, before the connection is lost, is ignored."""
        meeting = Meeting()
        meeting.carry_up()
        meeting.clock.advance(31)
        meeting.carry_down()
        self.assertEqual((meeting.wire.value(), len(meeting.diary.steps)), (b"", 1))
        self.assertEqual(self.end(meeting).category, Category.TIMEOUT)

    def test_admitted(self) -> None:
        """Admission ends the timeout of the handshake."""
        meeting = Meeting().open()
        meeting.clock.advance(1000)
        self.assertFalse(meeting.wire.aborted)


class SessionDeadlineTests(MeetingTestCase):
    """A server that never ends a session."""

    def test_oneDay(self) -> None:
        """After a day the client says so and leaves, and closes if the server does not answer."""
        meeting = Meeting().open()
        self.assertEqual(len(meeting.clock.getDelayedCalls()), 1)
        meeting.clock.advance(DAY - MOMENT)
        self.assertEqual(meeting.carry_up(), [])
        meeting.clock.advance(MOMENT)
        self.assertEqual(meeting.carry_up(), [GoodbyeReceived(Reason.TOO_OLD, 0)])
        self.assertAborts(meeting, 5.2)
        meeting.client.connectionLost()
        self.assertEqual(meeting.diary.ends, [None])
        self.assertEqual(meeting.clock.getDelayedCalls(), [])

    def test_goodbye(self) -> None:
        """The client waits five seconds and two ticks for the answer to its GOODBYE."""
        for tick in (100, 1000):
            meeting = Meeting(about=replace(OFF, tick=tick)).open()
            meeting.clock.advance(100)
            meeting.client.leave()
            self.assertEqual(meeting.carry_up(), [GoodbyeReceived(Reason.LEAVING, 0)])
            self.assertAborts(meeting, 5 + 2 * tick / 1000)

    def test_close(self) -> None:
        """After both GOODBYEs, the connection is closed when all is written, or after five seconds."""
        meeting = Meeting().open()
        meeting.client.leave()
        meeting.carry_up()
        meeting.server.goodbye(Reason.LEAVING, 0)
        meeting.carry_down()
        self.assertTrue(meeting.wire.lost)
        self.assertIsNone(meeting.wire.producer)
        self.assertAborts(meeting, 5)
        meeting.client.connectionLost()
        self.assertEqual(meeting.diary.ends, [None])

    def test_serversGoodbye(self) -> None:
        """The server's GOODBYE is answered with the last message whose reply is complete, and the same applies."""
        meeting = Meeting().open()
        meeting.client.say("one")
        meeting.client.say("two")
        meeting.carry_up()
        meeting.server.reply(1, b"1", True)
        meeting.server.reply(2, b"2", False)
        meeting.server.goodbye(Reason.STOPPING, 1)
        meeting.carry_down()
        self.assertEqual(meeting.carry_up(), [GoodbyeReceived(Reason.LEAVING, 1)])
        self.assertTrue(meeting.wire.lost)
        self.assertIsNone(meeting.wire.producer)
        self.assertAborts(meeting, 5)
        meeting.client.connectionLost()
        self.assertEqual(meeting.diary.ends, [GoodbyeReceived(Reason.STOPPING, 1)])

    def test_lastReply(self) -> None:
        """The client's GOODBYE has the last message whose reply is complete."""
        meeting = Meeting().open()
        for text in ("one", "two"):
            meeting.client.say(text)
        meeting.carry_up()
        meeting.server.reply(1, b"1", True)
        meeting.carry_down()
        meeting.client.leave()
        self.assertEqual(meeting.carry_up(), [GoodbyeReceived(Reason.LEAVING, 1)])


class EndingTests(MeetingTestCase):
    """All the ways in which a connection may end."""

    def test_noTimers(self) -> None:
        """Whenever the connection is lost, no timer is left, and the user is told once."""
        for about in (OFF, ABOUT, replace(ABOUT, shaping=2)):
            for name, stage in STAGES.items():
                meeting = Meeting(about=about)
                stage(meeting)
                self.assertEqual(meeting.diary.ends, [], name)
                meeting.client.connectionLost()
                self.assertEqual(len(meeting.diary.ends), 1, name)
                self.assertEqual(meeting.clock.getDelayedCalls(), [], name)

    def test_noTimersAfterLeaving(self) -> None:
        """The same holds if the client leaves first."""
        for about in (OFF, ABOUT, replace(ABOUT, shaping=2)):
            for name, stage in STAGES.items():
                meeting = Meeting(about=about)
                stage(meeting)
                meeting.client.leave()
                meeting.client.leaveQuietly()
                meeting.client.connectionLost()
                self.assertEqual(len(meeting.diary.ends), 1, name)
                self.assertEqual(meeting.clock.getDelayedCalls(), [], name)

    def test_garbage(self) -> None:
        """Invalid data aborts the connection at every stage, without an answer; later data is ignored."""
        for name, stage in STAGES.items():
            meeting = Meeting()
            stage(meeting)
            meeting.wire.clear()
            meeting.client.dataReceived(b"\0\0\0\0" + bytes(4096))
            self.assertTrue(meeting.wire.aborted, name)
            self.assertEqual(meeting.wire.value(), b"", name)
            self.assertEqual(meeting.diary.ends, [], name)
            meeting.client.dataReceived(bytes(4096))
            end = self.end(meeting)
            self.assertIn(end.category, (Category.FRAMING, Category.ORDER), name)
            self.assertEqual("does not speak securechat/1" in str(end), name == "hello", name)
            self.assertEqual(meeting.clock.getDelayedCalls(), [], name)

    def test_altered(self) -> None:
        """A changed record aborts the session, and what was not sent is dropped."""
        meeting = Meeting().open()
        meeting.client.say("x")
        meeting.carry_up()
        meeting.server.reply(1, b"y", True)
        data = bytearray(meeting.server.data_to_send())
        data[-1] ^= 1
        meeting.client.dataReceived(bytes(data))
        self.assertTrue(meeting.wire.aborted)
        self.assertEqual((meeting.diary.replies, meeting.wire.value()), ([], b""))
        self.assertRaises(LocalProtocolError, meeting.client.say, "z")
        self.assertEqual(self.end(meeting).category, Category.RECORD)

    def test_alteredWelcome(self) -> None:
        """A sealed secret that was tampered with is a failed authentication, not another protocol."""
        meeting = Meeting()
        meeting.carry_up()
        data = bytearray(meeting.server.data_to_send())
        data[int.from_bytes(data[:4], "big") - 1] ^= 1  # in the digest, at the end of the Welcome
        meeting.client.dataReceived(bytes(data))
        end = self.end(meeting)
        self.assertIsInstance(end, AuthenticationError)
        self.assertEqual(end.category, Category.DIGEST)
        self.assertEqual(str(end), "the key was tampered with")

    def test_cut(self) -> None:
        """What a cut means depends on the stage: only after the client's PROOF is permission denied."""
        for name, words in (
            ("hello", "during the handshake"),
            ("welcome", "during the handshake"),
            ("about", f"{NAME}: Permission denied"),
            ("open", "closed unexpectedly"),
            ("speaking", "closed unexpectedly"),
        ):
            meeting = Meeting()
            STAGES[name](meeting)
            end = self.end(meeting)
            self.assertIn(words, str(end))
            self.assertEqual(end.category, Category.CUT)
            self.assertEqual(isinstance(end, AuthenticationError), name == "about", name)

    def test_cutWhileLeaving(self) -> None:
        """A server that closes without a GOODBYE of its own, after the client's, is no error."""
        meeting = Meeting()
        leave(meeting)
        meeting.client.connectionLost()
        self.assertEqual(meeting.diary.ends, [None])

    def test_leavesEarly(self) -> None:
        """Before admission, leaving aborts at once, without a word and without an error."""
        for stage in (nothing, welcome, Meeting.prove):
            meeting = Meeting()
            stage(meeting)
            meeting.wire.clear()
            meeting.client.leave()
            self.assertTrue(meeting.wire.aborted)
            meeting.client.dataReceived(meeting.server.data_to_send())
            meeting.client.connectionLost()
            self.assertEqual((meeting.diary.ends, meeting.diary.about, meeting.wire.value()), ([None], None, b""))

    def test_leavesWhileSigning(self) -> None:
        """A signature, or an error of the agent, that comes after the client has left is no error."""
        for result in (bytes(64), ValueError("declined")):
            signature: Deferred[bytes] = Deferred()
            meeting = Meeting(signer=Signer(USER_KEY.blob, lambda data, signature=signature: signature)).prove()  # type: ignore[misc]
            meeting.client.leave()
            if isinstance(result, bytes):
                signature.callback(result)
            else:
                signature.errback(result)
            meeting.client.connectionLost()
            self.assertEqual((meeting.diary.ends, meeting.wire.value()), ([None], b""))

    def test_reason(self) -> None:
        """The client can give a reason for leaving."""
        meeting = Meeting().open()
        meeting.client.leave(Reason.IDLE)
        meeting.client.leave(Reason.REMOVED)
        self.assertEqual(meeting.carry_up(), [GoodbyeReceived(Reason.IDLE, 0)])

    def test_dead(self) -> None:
        """The seconds after which the connection is considered dead are those of the server's ticks."""
        for tick, seconds in ((100, 30), (1000, 100)):
            meeting = Meeting(about=replace(ABOUT, tick=tick)).open()
            meeting.client.say("x")
            self.assertAborts(meeting, seconds)
            end = self.end(meeting)
            self.assertEqual(end.category, Category.TIMEOUT)
            self.assertIn(f"{seconds} seconds", str(end))

    def test_alive(self) -> None:
        """An answered message, with a reply or a fault, leaves nothing to wait for."""
        for is_fault in (False, True):
            meeting = Meeting(about=ABOUT).open()
            meeting.client.say("x")
            meeting.carry_up()
            if is_fault:
                meeting.server.fault(1, Fault.BUSY)
            else:
                meeting.server.reply(1, b"y", True)
            meeting.carry_down()
            meeting.clock.advance(1000)
            self.assertFalse(meeting.wire.aborted)

    def test_noRoom(self) -> None:
        """Once the session ends, in whatever way, nobody is told that there is room for messages."""

        def leave(meeting: Meeting) -> None:
            meeting.client.leave()

        def be_left(meeting: Meeting) -> None:
            meeting.server.goodbye(Reason.STOPPING, 1)
            meeting.carry_down()

        def fail(meeting: Meeting) -> None:
            meeting.client.dataReceived(bytes(4))

        for end in leave, be_left, fail:
            meeting = Meeting(about=ABOUT).open()
            meeting.client.say("x")
            meeting.carry_up()
            meeting.server.reply(1, b"y", True)
            meeting.carry_down()
            room = meeting.client.room()
            end(meeting)
            meeting.clock.advance(2)
            self.assertNoResult(room)
            self.assertNoResult(meeting.client.room())

    def test_holds(self) -> None:
        """While the user cannot take more text nothing is read, and the server is not considered dead."""
        meeting = Meeting(about=ABOUT).open()
        meeting.client.say("x")
        meeting.client.holdReading(True)
        self.assertEqual(meeting.wire.producerState, "paused")
        meeting.clock.advance(1000)
        self.assertFalse(meeting.wire.aborted)
        meeting.client.holdReading(False)
        self.assertEqual(meeting.wire.producerState, "producing")
        self.assertAborts(meeting, 30)

    def test_heldForAWhile(self) -> None:
        """What was silent while nothing was read begins anew after that: the wait for the server, and for room."""
        meeting = Meeting(about=ABOUT).open()
        meeting.client.say("x")
        meeting.carry_up()
        meeting.clock.advance(1)
        meeting.client.holdReading(True)
        meeting.clock.advance(28)
        meeting.client.holdReading(False)
        meeting.clock.advance(29)
        self.assertFalse(meeting.wire.aborted)
        meeting.server.reply(1, b"y", True)
        meeting.carry_down()
        room = meeting.client.room()
        meeting.clock.advance(0.25)
        meeting.client.holdReading(True)
        meeting.clock.advance(0.125)
        meeting.client.holdReading(False)
        meeting.clock.advance(0.375)
        self.assertNoResult(room)
        meeting.clock.advance(0.125)
        self.successResultOf(room)

    def test_holdsNothing(self) -> None:
        """Before admission and after the end there is nothing to hold."""
        for stage in (nothing, welcome, Meeting.prove, be_left):
            meeting = Meeting()
            stage(meeting)
            meeting.client.holdReading(True)
            self.assertEqual(meeting.wire.producerState, "producing")
            meeting.client.holdReading(False)


class SendingTests(MeetingTestCase):
    """What the client sends, and when."""

    def test_transport(self) -> None:
        """Small writes are not delayed, an unreachable server is noticed, and the transport tells what it holds."""
        meeting = Meeting()
        self.assertEqual(meeting.wire.options, {"no delay": True, "keep alive": True})
        self.assertIs(meeting.wire.producer, meeting.client)
        self.assertIs(meeting.wire.streaming, True)

    def test_atOnce(self) -> None:
        """Messages, cancellations and new conversations are sent at once, each in one write."""
        meeting = Meeting().open()
        meeting.wire.writes.clear()
        meeting.client.say("x")
        meeting.client.cancel(1)
        meeting.client.startAfresh()
        self.assertEqual(len(meeting.wire.writes), 3)
        self.assertEqual(meeting.carry_up(), [MessageReceived(1, "x"), CancelReceived(1), NewReceived()])

    def test_notBeforeAdmission(self) -> None:
        """No message can be sent before admission."""
        for stage in (nothing, welcome, Meeting.prove):
            meeting = Meeting()
            stage(meeting)
            meeting.wire.clear()
            self.assertRaises(LocalProtocolError, meeting.client.say, "x")
            self.assertEqual(meeting.wire.value(), b"")
            self.assertFalse(meeting.client.was_admitted)
        self.assertTrue(Meeting().open().client.was_admitted)

    def test_tooLong(self) -> None:
        """A message beyond the server's limit is a ValueError, and nothing is sent."""
        meeting = Meeting(about=replace(OFF, max_message=4096)).open()
        meeting.wire.clear()
        self.assertRaises(ValueError, meeting.client.say, "x" * 4097)
        self.assertEqual(meeting.wire.value(), b"")
        meeting.client.say("x" * 4096)
        self.assertEqual(meeting.carry_up(), [MessageReceived(1, "x" * 4096)])

    def test_callbacks(self) -> None:
        """The user is told of each part of a reply, with its message, and of faults."""
        meeting = Meeting().open()
        for text in ("one", "two"):
            meeting.client.say(text)
        meeting.carry_up()
        meeting.server.reply(1, b"a", False)
        meeting.server.reply(1, b"b", True)
        meeting.server.fault(2, Fault.BUSY)
        meeting.carry_down()
        self.assertEqual(meeting.diary.replies, [(1, "a", False), (1, "b", True)])
        self.assertEqual(meeting.diary.faults, [(2, Fault.BUSY)])
        self.assertEqual(meeting.wire.value(), b"")

    def test_leavesQuietly(self) -> None:
        """Incomplete replies are cancelled, the last one first, before the client waits to leave."""
        for about, said in ((ABOUT, []), (OFF, [GoodbyeReceived(Reason.LEAVING, 0)])):
            meeting = Meeting(about=about).open()
            for text in ("one", "two"):
                meeting.client.say(text)
            meeting.carry_up()
            left = meeting.client.leaveQuietly()
            cancelled: list[Event] = [CancelReceived(2), CancelReceived(1)]
            self.assertEqual(meeting.carry_up(), cancelled + said)
            self.assertEqual(left.called, bool(said))

    def test_leavesWithoutTrain(self) -> None:
        """Without shaping there is nothing to wait for, however many replies are outstanding."""
        meeting = Meeting(about=OFF).open()
        for _message in range(5):
            meeting.client.say("x")
        self.successResultOf(meeting.client.leaveQuietly())
        self.assertEqual(meeting.carry_up()[-1], GoodbyeReceived(Reason.LEAVING, 0))

    def test_leavesQuietlyTwice(self) -> None:
        """After GOODBYE there is nothing to wait for."""
        meeting = Meeting(about=ABOUT).open()
        meeting.client.say("x")
        meeting.client.leave()
        meeting.carry_up()
        self.successResultOf(meeting.client.leaveQuietly())
        self.assertEqual(meeting.carry_up(), [])


class AlteredHandshake(ServerHandshake):
    """A server that possesses another key than it shows, or none of the session's."""

    def __init__(self, what: str) -> None:
        super().__init__(identity(), frozenset({NAME}))
        self._what = what

    def prove(self) -> bytes:
        proof = decode(SERVER_PROOF, super().prove())
        match self._what:
            case "signature":
                return encode(replace(proof, signature=bytes(64)))
            case "mac":
                return encode(replace(proof, mac=bytes(32)))
        return encode(replace(proof, body=Raw(encode(ServerBody(USER_KEY.blob, ClientAuth.OPTIONAL)))))


class VerificationTests(MeetingTestCase):
    """The server's proof, its host key, and what the client does before and after it has verified them."""

    def test_falseProofs(self) -> None:
        """Without a valid proof the key is not looked up, nobody signs, and nothing is sent."""
        for what in ("signature", "mac", "key"):
            looked_up: list[bytes] = []
            asked: list[bytes] = []

            def sign(data: bytes, asked: list[bytes] = asked) -> bytes:
                asked.append(data)
                return USER_KEY.sign(data)

            meeting = Meeting(
                handshake=AlteredHandshake(what),
                check_host_key=looked_up.append,
                signer=Signer(USER_KEY.blob, sign),
            )
            meeting.prove()
            self.assertEqual((looked_up, asked, meeting.wire.value()), ([], [], b""), what)
            self.assertTrue(meeting.wire.aborted)
            self.assertFalse(any(keys.fingerprint(HOST_KEY.blob) in step for step in meeting.diary.steps), what)
            end = self.end(meeting)
            self.assertIsInstance(end, AuthenticationError)
            self.assertEqual(end.category, Category.PROOF)

    def test_rejectedKey(self) -> None:
        """If the host key is rejected, nobody signs, nothing is sent, and the error is the one that rejected it."""

        def refuse(blob: bytes) -> None:
            raise AuthenticationError(Category.HOST_KEY, "not this one")

        def sign(data: bytes) -> bytes:
            raise AssertionError("signed for a server that was rejected")

        meeting = Meeting(check_host_key=refuse, signer=Signer(USER_KEY.blob, sign)).prove()
        self.assertEqual(meeting.wire.value(), b"")
        self.assertTrue(meeting.wire.aborted)
        self.assertEqual(len(meeting.diary.steps), 2)
        self.assertEqual(str(self.end(meeting)), "not this one")

    def test_checkedFirst(self) -> None:
        """The host key is checked once, with the key that was proved, before the client sends anything more."""
        checked: list[tuple[bytes, bytes]] = []

        def check(blob: bytes) -> None:
            checked.append((blob, meeting.wire.value()))

        meeting = Meeting(check_host_key=check, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        meeting.open()
        self.assertEqual(checked, [(HOST_KEY.blob, b"")])

    def test_signedData(self) -> None:
        """What is signed is bound to this handshake, and the user's key is sent."""
        signed: list[bytes] = []

        def sign(data: bytes) -> bytes:
            signed.append(data)
            return USER_KEY.sign(data)

        for _session in range(2):
            meeting = Meeting(signer=Signer(USER_KEY.blob, sign)).prove()
            self.assertEqual(meeting.carry_up(), [ClientProved(USER_KEY.blob)])
        self.assertEqual(len(set(signed)), 2)
        self.assertTrue(all(data.startswith(b"SSHSIG") for data in signed))

    def test_notAsked(self) -> None:
        """A server that takes no user keys learns none, and the key is not used."""

        def sign(data: bytes) -> bytes:
            raise AssertionError("signed for a server that takes no keys")

        meeting = Meeting(client_auth=ClientAuth.NONE, signer=Signer(USER_KEY.blob, sign)).prove()
        self.assertEqual(meeting.carry_up(), [ClientProved(b"")])
        self.assertEqual(meeting.diary.steps[-1], "continuing anonymously")

    def test_anotherServersProof(self) -> None:
        """A proof of another session's server is worth nothing, although its key is the right one."""
        proofs: list[bytes] = []

        class Replaying(ServerHandshake):
            def prove(self) -> bytes:
                proofs.append(super().prove())
                return proofs[0]

        for expected in ([HOST_KEY.blob], []):
            checked: list[bytes] = []
            Meeting(handshake=Replaying(identity(), frozenset({NAME})), check_host_key=checked.append).prove()
            self.assertEqual(checked, expected)
