"""How connections end: nothing of them is left, and what they held is given back once."""

import gc
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast
from weakref import ref

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ISystemHandle
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from securechat.errors import Fault
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.interface import IRobot
from securechat.server.reading import LOOK_INTERVAL
from securechat.server.replies import TextReply
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.ssh import keys
from securechat.wire.connection import GOODBYE_TIMEOUT
from securechat.wire.events import FaultReceived, GoodbyeReceived, ReplyReceived
from securechat.wire.items import Head, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping
from tests.harness.pair import USER_KEY, frames
from tests.harness.robot import ApiPuppet, EndlessRobot
from tests.server.test_protocol import CLIENT, Listed, ServerTestCase, Session, Wire

IDLE: Final = 60.0  # seconds
DAY: Final = 24 * 60 * 60.0
TICK: Final = 0.125  # seconds
GARBAGE: Final = b"\xff" * 2000  # more than the rest of any record
PLACES: Final = 5  # of messages in a session
REFUSALS: Final = 64  # that wait before a client is not read


Point = Callable[["EndTestCase", Session], None]
End = Callable[["EndTestCase", Session], None]


def connected(test: "EndTestCase", session: Session) -> None:
    """No Hello yet."""


def half_hello(test: "EndTestCase", session: Session) -> None:
    session.server.dataReceived(session.client.data_to_send()[:700])


def after_hello(test: "EndTestCase", session: Session) -> None:
    session.server.dataReceived(session.client.data_to_send())


def admitted(test: "EndTestCase", session: Session) -> None:
    session.open()


def answering(test: "EndTestCase", session: Session) -> None:
    session.open().say("x")
    test.robot.say("half")


def calling(test: "EndTestCase", session: Session) -> None:
    session.open().client.call("models", b"")
    session.pump()
    test.robot.give(Head(200, "text/event-stream"), ServerEvent("", b"half"))


def calls_wait(test: "EndTestCase", session: Session) -> None:
    session.open()
    for _ in range(PLACES + 2):
        session.client.call("chat/completions", b"{}")
    session.pump()


def messages_wait(test: "EndTestCase", session: Session) -> None:
    session.open()
    for _ in range(PLACES + 2):
        session.say("x")


def not_read(test: "EndTestCase", session: Session) -> None:
    session.open()
    for _ in range(PLACES + REFUSALS):
        session.say("x")
    test.assertEqual(session.wire.producerState, "paused")


def read_again_soon(test: "EndTestCase", session: Session) -> None:
    """The refusals have left, and the client is read in the next turn of the reactor."""
    not_read(test, session)
    for _ in range(PLACES - 1):
        test.robot.end()
        test.clock.advance(0)
    test.robot.end()
    test.assertEqual(session.wire.producerState, "paused")


def stalled(test: "EndTestCase", session: Session) -> None:
    """The client does not read."""
    answering(test, session)
    session.server.pauseProducing()


def stalled_and_not_read(test: "EndTestCase", session: Session) -> None:
    not_read(test, session)
    session.server.pauseProducing()


def record_begun(test: "EndTestCase", session: Session) -> None:
    session.open().client.pad()
    session.server.dataReceived(session.client.data_to_send()[:-1])


def message_begun(test: "EndTestCase", session: Session) -> None:
    session.open().client.say("x" * 2000)
    session.server.dataReceived(frames(session.client.data_to_send())[0])


def server_left(test: "EndTestCase", session: Session) -> None:
    answering(test, session)
    session.server.leave(Reason.STOPPING)


def both_left(test: "EndTestCase", session: Session) -> None:
    answering(test, session)
    session.client.goodbye(Reason.LEAVING, 0)
    session.pump()


def before_a_record_is_sealed(test: "EndTestCase", session: Session) -> None:
    session.open().say("x")
    test.clock.advance(TICK)


def after_a_record_was_sealed(test: "EndTestCase", session: Session) -> None:
    session.open().say("x")
    test.clock.advance(TICK - 0.002)


POINTS: Final[dict[Point, tuple[Shaping, ...]]] = {
    **dict.fromkeys(
        (connected, half_hello, after_hello, admitted, answering, messages_wait, stalled, record_begun, message_begun),
        tuple(Shaping),
    ),
    **dict.fromkeys((calling, calls_wait), tuple(Shaping)),
    **dict.fromkeys((server_left, both_left), tuple(Shaping)),
    **dict.fromkeys((not_read, read_again_soon, stalled_and_not_read), (Shaping.OFF,)),
    **dict.fromkeys((before_a_record_is_sealed, after_a_record_was_sealed), (Shaping.REPLY, Shaping.CONSTANT)),
}


def lost(test: "EndTestCase", session: Session) -> None:
    session.lose()


def aborted(test: "EndTestCase", session: Session) -> None:
    """The client breaks the protocol."""
    session.server.dataReceived(GARBAGE)
    test.assertTrue(session.wire.aborted)
    test.assertFalse(test.robot.is_waiting)
    written = len(session.wire.writes)
    session.server.dataReceived(GARBAGE)
    test.clock.advance(TICK)
    session.server.leave(Reason.STOPPING)
    test.assertEqual(len(session.wire.writes), written)
    session.lose()


def timed_out(test: "EndTestCase", session: Session) -> None:
    """Nothing comes from the client any more."""
    while test.factory.settings.shaping is not Shaping.OFF and test.robot.is_waiting:
        test.robot.end()  # or its train would take a day
        test.clock.advance(TICK)
    for seconds in (*[TICK] * 400, *[IDLE] * 6, *[DAY / 2] * 3, GOODBYE_TIMEOUT):
        if session.wire.aborted:
            break
        test.clock.advance(seconds)
    test.assertTrue(session.wire.aborted)
    session.lose()


def told_to_leave(test: "EndTestCase", session: Session) -> None:
    session.server.leave(Reason.KEY_WITHDRAWN)
    for _ in range(3):
        test.clock.advance(TICK)
    session.lose()


ENDS: Final[tuple[End, ...]] = (lost, aborted, timed_out, told_to_leave)


class EndTestCase(ServerTestCase):
    """A server that has one place for its only client."""

    robot: ApiPuppet

    def start(self, shaping: Shaping) -> Session:
        self.robot = ApiPuppet()
        self.factory = self.make_factory(
            api=True,
            shaping=shaping,
            tick=TICK,
            idle_timeout=IDLE,
            max_sessions_per_source=1,
            max_handshakes_per_source=1,
        )
        return Session(self.factory)


class EveryEndTests(EndTestCase):
    """Each way in which a connection can end, at each point of a session."""

    def check(self, end: End) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        for point, shapings in POINTS.items():
            for shaping in shapings:
                where = f"{point.__name__}, {shaping}"
                session = self.start(shaping)
                point(self, session)
                self.assertIsNone(self.factory.buildProtocol(CLIENT), where)
                end(self, session)
                self.assertEqual(self.clock.getDelayedCalls(), [], where)
                self.assertFalse(self.robot.is_waiting, where)
                self.assertEqual(self.factory.sessions, set(), where)
                self.assertEqual(self.factory.message_memory.all.taken, 0, where)
                server = ref(session.server)
                session.wire.producer = None  # as a real transport does
                del session
                self.assertIsNone(server(), where)
                again = Session(self.factory).open()
                self.assertIsNone(self.factory.buildProtocol(CLIENT), where)
                again.lose()

    def test_lost(self) -> None:
        """A connection that is lost leaves no timer, robot or memory, although garbage is collected much later.

        Its place can be taken once.
        """
        self.check(lost)

    def test_aborted(self) -> None:
        """So does one that is aborted; at once its robot is stopped, and nothing is written or read any more."""
        self.check(aborted)

    def test_timedOut(self) -> None:
        """Whatever a client does not do, in the end it is disconnected."""
        self.check(timed_out)

    def test_toldToLeave(self) -> None:
        """A client may disconnect when it is told to leave."""
        self.check(told_to_leave)


class ManySessionsTests(ServerTestCase):
    """The end of several sessions at once."""

    def test_withdrawn(self) -> None:
        """Every session of a user whose key was removed ends, and no other."""
        bob, carol = keys.SigningKey.generate(), keys.SigningKey.generate()
        users = Listed(USER_KEY, bob, carol)
        self.factory = self.make_factory(users=users)
        removed = [Session(self.factory, user_key=key).open() for key in (USER_KEY, bob, USER_KEY, bob, USER_KEY)]
        others = [Session(self.factory, user_key=key).open() for key in (carol, None, carol)]
        users.authorized = {carol.blob}
        self.factory.drop_unauthorized()
        for session in removed + others:
            session.pump()
        self.assertEqual([session.events for session in removed], [[GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)]] * 5)
        self.assertEqual([session.events for session in others], [[]] * 3)

    def test_expired(self) -> None:
        """At a reload, sessions end whose key has expired, or may not be used from their address."""
        path = Path(self.mktemp())
        path.write_text(f'from="192.0.2.7",expiry-time="20300101Z" {keys.public_line(USER_KEY.blob, "alice")}\n')
        path.chmod(0o600)
        now = [0.0]
        users = AuthorizedUsers(path, self.clock.seconds, lambda: now[0])
        self.factory = self.make_factory(client_auth=users.client_auth, users=users)
        far = Session(self.factory, user_key=USER_KEY, wire=Wire(IPv4Address("TCP", "192.0.2.8", 5)))
        far.pump()
        self.assertTrue(far.wire.aborted)
        session = Session(self.factory, user_key=USER_KEY).open()
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [])
        now[0] = 2e9
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)])

    def test_reloadDuringHandshake(self) -> None:
        """What is reloaded during a handshake applies to its session: limits, and who is admitted."""
        session = Session(self.factory)
        settings = replace(self.factory.settings, idle_timeout=5.0)
        self.factory.configure(settings, Anyone(), cast(IRobot, self.robot), {})
        session.open()
        self.clock.advance(4.0)
        session.pump()
        self.assertEqual(session.events, [])
        self.clock.advance(1.1)
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.IDLE, 0)])
        path = Path(self.mktemp())
        path.write_text("")
        path.chmod(0o600)
        handshake = Session(self.factory)
        self.factory.configure(settings, AuthorizedUsers(path), cast(IRobot, self.robot), {})
        handshake.pump()
        self.assertTrue(handshake.wire.aborted)
        self.assertLogged(r"client 2 from .*: aborted \(user-key\)")

    def test_stopped(self) -> None:
        """A server that stops says GOODBYE to every session, and is done when the last one has gone."""
        sessions = [Session(self.factory).open() for _ in range(5)]
        stopped = self.factory.stop()
        for session in sessions:
            session.pump()
            self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])
        for session in sessions:
            self.assertNoResult(stopped)
            session.lose()
        self.successResultOf(stopped)

    def test_cutShort(self) -> None:
        """At a second signal every connection is aborted, those in the handshake included."""
        sessions = [*(Session(self.factory).open() for _ in range(3)), *(Session(self.factory) for _ in range(3))]
        self.factory.abort()
        self.assertEqual([session.wire.aborted for session in sessions], [True] * 6)

    def test_oneIsAborted(self) -> None:
        """A connection that was aborted and is not closed yet does not keep the others from being told."""
        users = Listed()
        for end in ("stop", "drop_unauthorized"):
            users.authorized = {USER_KEY.blob}
            self.factory = self.make_factory(users=users)
            sessions = [Session(self.factory, user_key=USER_KEY).open() for _ in range(6)]
            for session in sessions[::2]:
                session.server.dataReceived(GARBAGE)
            users.authorized.clear()
            getattr(self.factory, end)()
            for session in sessions[1::2]:
                session.pump()
                self.assertEqual(len(session.events), 1)
            for session in sessions:
                session.lose()


class StallTests(ServerTestCase):
    """Clients that do not read for a while."""

    def test_readsAgain(self) -> None:
        """A client that reads again in time is not aborted, however often it stalls."""
        session = Session(self.factory).open()
        for _ in range(3):
            session.server.pauseProducing()
            self.clock.advance(29)
            session.server.resumeProducing()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # that of its age
        self.clock.advance(100)
        self.assertFalse(session.wire.aborted)
        session.server.pauseProducing()
        self.clock.advance(29.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)

    def test_oneTimer(self) -> None:
        """A transport that says twice that the client does not read starts no second timer."""
        session = Session(self.factory).open()
        session.server.pauseProducing()
        self.clock.advance(10)
        session.server.pauseProducing()
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.clock.advance(40)
        self.assertEqual(
            [line.partition(" as ")[0] for line in self.log_lines() if "aborted" in line],
            ["client 1 from [192.0.2.7]:5555: aborted (timeout)"],
        )

    def test_inTheHandshake(self) -> None:
        """A client that reads nothing during the handshake is aborted when its time is over."""
        session = Session(self.factory)
        session.server.dataReceived(session.client.data_to_send())
        session.server.pauseProducing()
        self.clock.advance(29.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)
        session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_isAProducer(self) -> None:
        """The transport tells the server when the client does not read, until the connection is closed."""
        session = Session(self.factory).open()
        self.assertIs(session.wire.producer, session.server)
        self.assertTrue(session.wire.streaming)
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertTrue(session.wire.disconnecting)
        self.assertIsNone(session.wire.producer)


@implementer(ISystemHandle)
class HandleWire(Wire):
    """A transport whose socket can be given to it late: until then everything goes through the transport."""

    handle: object = None

    def getHandle(self) -> object:
        return self.handle


class NotReadTests(ServerTestCase):
    """Clients that are not read, because too many of their messages were refused."""

    def hold(self, wire: Wire | None = None) -> Session:
        session = Session(self.factory, wire=wire).open()
        for _ in range(PLACES + REFUSALS):
            session.say("x")
        self.assertEqual(session.wire.producerState, "paused")
        return session

    def test_gone(self) -> None:
        """The server looks every five seconds whether such a client is still there, and says that it was cut."""
        if not hasattr(select, "POLLRDHUP"):
            raise SkipTest("this platform does not tell that a peer has closed its half")
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        wire = HandleWire()
        session = self.hold(wire)
        wire.handle = near
        for _ in range(3):
            self.clock.advance(LOOK_INTERVAL)
        self.assertFalse(wire.aborted)
        far.shutdown(socket.SHUT_WR)
        self.clock.advance(LOOK_INTERVAL - 0.1)
        self.assertFalse(wire.aborted)
        self.clock.advance(0.1)
        self.assertTrue(wire.aborted)
        self.assertLogged(r"client 1 from \[192.0.2.7\]:5555: aborted \(cut\)")
        session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noSocket(self) -> None:
        """Where there is no socket to look at, as under TLS, the client is not taken for gone."""
        session = self.hold(HandleWire())
        self.clock.advance(LOOK_INTERVAL)
        self.assertFalse(session.wire.aborted)

    def test_readAgain(self) -> None:
        """Once it is read again, the server looks after it no more."""
        session = self.hold()
        for _ in range(PLACES):
            self.robot.end()
            session.pump()
        self.assertEqual(session.wire.producerState, "producing")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # that of its age

    def test_serverLeaves(self) -> None:
        """Nor when the server leaves, and only waits for the client's GOODBYE."""
        session = self.hold()
        session.server.leave(Reason.STOPPING)
        [call] = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), self.clock.seconds() + GOODBYE_TIMEOUT)

    def test_inATurnOfItsOwn(self) -> None:
        """Input that waited is not read while a record of the reply is being sent."""
        session = self.hold()
        session.client.goodbye(Reason.LEAVING, 0)
        for _ in range(PLACES - 1):
            self.robot.end()
            session.pump()
        self.robot.end()
        self.assertEqual(session.wire.producerState, "paused")
        session.pump()
        self.assertEqual(session.client.next_reply_id, PLACES + REFUSALS + 1)


class GoodbyeTests(ServerTestCase):
    """The server's GOODBYE, and what comes after it."""

    def test_timeout(self) -> None:
        """A client has five seconds to answer, and the log says that it did not."""
        session = Session(self.factory).open()
        session.server.leave(Reason.STOPPING)
        self.clock.advance(GOODBYE_TIMEOUT - 0.1)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"client 1 from \[192.0.2.7\]:5555: aborted \(timeout\)")

    def test_messagesAfterIt(self) -> None:
        """Messages that come after it, also those for which there is no memory or no allowance, change nothing."""
        for shaping in Shaping:
            for limit in ("none", "memory", "rate"):
                self.factory = self.make_factory(shaping=shaping, message_burst=1 if limit == "rate" else 1000)
                session = Session(self.factory).open()
                session.say("x")
                self.robot.end()
                for _ in range(100):
                    self.clock.advance(0.1)
                    session.pump()
                if limit == "memory":
                    self.assertTrue(self.factory.message_memory.all.take(256 * 1024 * 1024))
                session.server.leave(Reason.STOPPING)
                self.clock.advance(0.2)
                written = len(session.wire.writes)
                session.client.say("late")
                session.server.dataReceived(session.client.data_to_send())
                self.clock.advance(1)
                self.assertEqual(len(session.wire.writes), written, (shaping, limit))
                session.pump()
                self.assertEqual(session.events[-1], GoodbyeReceived(Reason.STOPPING, 1))
                session.lose()
                self.assertEqual(self.clock.getDelayedCalls(), [])


class RobotTests(ServerTestCase):
    """What becomes of the robot."""

    def test_openCircuit(self) -> None:
        """A robot that was not asked, because it has just failed, makes no further line in the log."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.fail(CircuitOpenError(Fault.UNREACHABLE, "connection refused", 1.0))
        session.pump()
        self.assertEqual(session.events, [FaultReceived(1, Fault.UNREACHABLE)])
        self.assertFalse([line for line in self.log_lines() if "robot" in line])

    def test_isClosedAtOnce(self) -> None:
        """A robot whose reply exceeds the limit is stopped at once."""
        robot = EndlessRobot()
        self.factory = self.make_factory(robot=robot, max_reply=1000)
        session = Session(self.factory).open()
        session.say("one")
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.TOO_LONG))
        self.assertEqual(robot.stopped, ["one"])

    def test_cancelledAfterNew(self) -> None:
        """NEW clears the history, also if the message after it was cancelled before its turn."""
        session = Session(self.factory).open()
        session.say("one")
        session.client.start_afresh()
        session.say("two")
        session.client.cancel(2)
        session.say("three")
        self.robot.say("1")
        self.robot.end()
        session.pump()
        self.assertEqual(self.robot.turns, [["one"], ["three"]])

    def test_sentTextIsNotKept(self) -> None:
        """Of a long reply, the server holds what was not sent yet, and no more."""
        session = Session(self.factory).open()
        session.say("x")
        for _ in range(30):
            self.robot.say("y" * 30_000)
            session.pump()
            [reply] = session.server._outbox._replies
            assert isinstance(reply, TextReply)
            self.assertLess(len(reply._text), 2 * 30_000)
        text = "".join(event.text for event in session.events if isinstance(event, ReplyReceived))
        self.assertEqual(text, "y" * 900_000)


class SourceTests(ServerTestCase):
    """Limits that depend on where a client comes from."""

    def test_keptForUsers(self) -> None:
        """A server with a list of users keeps a tenth of its sessions for them; one without keeps none."""
        for users, strangers in ((Listed(), 9), (None, 10)):
            self.factory = self.make_factory(users=users, max_sessions=10, handshake_burst=100)
            admitted = []
            for _ in range(10):
                session = Session(self.factory)
                session.pump()
                admitted.append(session.server.is_admitted)
            self.assertEqual(admitted.count(True), strangers)
