"""Peers that reset, half-close or stall, at each point of a session, over real sockets and with a real HTTP robot.

The server's clock is a fake, so that its deadlines pass at once. After each the server must hold no session, place,
timer, descriptor or request to the robot's server.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from twisted.internet import reactor as installed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import directlyProvides, providedBy

from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import OpenAISettings, base_url
from securechat.server.factory import ChatServerFactory
from securechat.server.reading import LOOK_INTERVAL
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import GOODBYE_TIMEOUT, MAX_CHUNK
from securechat.wire.events import Admitted, Event, ReplyReceived, ServerProved
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping
from tests.harness.openai_peer import OpenAIPeer
from tests.harness.pair import NAME, PQ, accept, identity

reactor: Any = installed

STEP: Final = 0.25  # seconds by which the clock is advanced
IDLE: Final = 60.0  # seconds
FIRST_TIMEOUT: Final = 40.0  # of the robot
PLACES: Final = 2  # at the robot
GONE: Final = LOOK_INTERVAL + STEP  # which is also longer than the robot's connections are kept
STALLED: Final = 3 * FIRST_TIMEOUT + IDLE + GOODBYE_TIMEOUT + 2 * STEP  # three failures open the circuit breaker
MANY: Final = 1000
FIN_WAIT1: Final = 4  # Linux's number of the state in which a FIN was sent and not acknowledged


class FakeTimeReactor:
    """The reactor, with the timers of a fake clock."""

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds
        self.callLater = clock.callLater
        self.getDelayedCalls = clock.getDelayedCalls
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Peer:
    """A client without a will of its own."""

    def __init__(self, test: "PeerTestCase") -> None:
        self._test = test
        self.events: list[Event] = []
        self.socket = socket.create_connection(("127.0.0.1", test.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        handshake = ClientHandshake(PQ, PQ.generate_key(), NAME, accept)
        self.connection = ClientConnection(handshake, test.clock.seconds)

    def send(self, part: slice = slice(None)) -> None:
        """Send what the connection has to send, or a part of it."""
        with contextlib.suppress(OSError):
            self.socket.sendall(self.connection.data_to_send()[part])

    async def until(self, kind: type[Event]) -> None:
        """Read and answer until an event of this kind."""
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                for event in self.connection.receive_data(self.socket.recv(65536)):
                    self.events.append(event)
                    if isinstance(event, ServerProved):
                        self.connection.prove(b"")
                        if kind is not ServerProved:
                            self.send()
            if any(isinstance(event, kind) for event in self.events):
                return
            await self._test.turn()
        raise AssertionError(f"no {kind} in {self.events}")

    async def open(self) -> None:
        self.send()
        await self.until(Admitted)

    async def say(self, *texts: str) -> None:
        """Send messages, and give the server time to read them."""
        for text in texts:
            self.connection.say(text)
            self.send()
        for _ in range(5):
            await self._test.turn()

    # What a peer does

    async def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def half_close(self) -> None:
        with contextlib.suppress(OSError):  # the server may have been faster
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == FIN_WAIT1:
                await self._test.turn()

    async def stall(self) -> None:
        """Neither read nor write."""


Act = Callable[[Peer], Awaitable[None]]
Point = Callable[["PeerTestCase", Peer], Awaitable[None]]


async def before_hello(test: "PeerTestCase", peer: Peer) -> None:
    await test.turn()


async def half_a_length(test: "PeerTestCase", peer: Peer) -> None:
    peer.send(slice(2))


async def half_hello(test: "PeerTestCase", peer: Peer) -> None:
    peer.send(slice(700))


async def after_hello(test: "PeerTestCase", peer: Peer) -> None:
    peer.send()
    await test.turn()


async def after_welcome(test: "PeerTestCase", peer: Peer) -> None:
    peer.send()
    await peer.until(ServerProved)


async def half_proof(test: "PeerTestCase", peer: Peer) -> None:
    await after_welcome(test, peer)
    peer.send(slice(300))


async def after_about(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()


async def half_a_record_length(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    peer.connection.say("x")
    peer.send(slice(3))


async def half_a_record(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    peer.connection.say("x")
    peer.send(slice(100))


async def within_a_message(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    peer.connection.say("x" * 2 * MAX_CHUNK)
    peer.send(slice(PQ.record_size + 4))


async def robot_hangs(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say("hang")
    await test.asked(1)


async def in_mid_reply(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say("hang between")
    await peer.until(ReplyReceived)


async def robot_floods(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say("flood")
    await peer.until(ReplyReceived)


async def after_a_reply(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say("hello")
    await peer.until(ReplyReceived)


async def messages_wait(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say(*["hang"] * 5)
    await test.asked(1)


async def refusals_wait(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    await peer.say(*["hang"] * 8)
    await test.asked(1)


async def not_read(test: "PeerTestCase", peer: Peer) -> None:
    """Too many refusals wait, and the server stops reading."""
    await peer.open()
    await peer.say(*["hang"] * (5 + 64))
    await test.asked(1)
    [session] = test.factory.sessions
    assert session.transport not in reactor.getReaders()


async def not_read_with_more(test: "PeerTestCase", peer: Peer) -> None:
    await not_read(test, peer)
    await peer.say(*["hang"] * 20)


async def not_read_with_goodbye(test: "PeerTestCase", peer: Peer) -> None:
    await not_read(test, peer)
    peer.connection.goodbye(Reason.LEAVING, 0)
    peer.send()


async def robot_queue_is_full(test: "PeerTestCase", peer: Peer) -> None:
    others = [Peer(test) for _ in range(PLACES)]
    for other in others:
        await other.open()
        await other.say("hang")
    await test.asked(PLACES)
    await peer.open()
    await peer.say("hello")
    test.others += others


async def after_cancel(test: "PeerTestCase", peer: Peer) -> None:
    await in_mid_reply(test, peer)
    peer.connection.cancel(1)
    peer.send()
    await test.turn()


async def after_cancel_of_a_waiting_message(test: "PeerTestCase", peer: Peer) -> None:
    await robot_hangs(test, peer)
    await peer.say("hello")
    peer.connection.cancel(2)
    peer.send()
    await test.turn()


async def after_goodbye(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()
    peer.connection.goodbye(Reason.LEAVING, 0)
    peer.send()
    await test.turn()


async def after_goodbye_in_mid_reply(test: "PeerTestCase", peer: Peer) -> None:
    await robot_floods(test, peer)
    peer.connection.goodbye(Reason.LEAVING, 0)
    peer.send()


async def after_the_servers_goodbye(test: "PeerTestCase", peer: Peer) -> None:
    await robot_hangs(test, peer)
    for session in test.factory.sessions:
        session.leave(Reason.STOPPING)
    await test.turn()


async def in_a_train(test: "PeerTestCase", peer: Peer) -> None:
    """The reply is complete, and padding follows."""
    await peer.open()
    await peer.say("hello")
    await test.asked(1)


async def endless_train(test: "PeerTestCase", peer: Peer) -> None:
    await peer.open()


POINTS: Final[dict[Point, Shaping]] = {
    **dict.fromkeys(
        (
            *(before_hello, half_a_length, half_hello, after_hello, after_welcome, half_proof, after_about),
            *(half_a_record_length, half_a_record, within_a_message, robot_hangs, in_mid_reply, robot_floods),
            *(after_a_reply, messages_wait, refusals_wait, not_read, not_read_with_more, not_read_with_goodbye),
            *(robot_queue_is_full, after_cancel, after_cancel_of_a_waiting_message, after_goodbye),
            *(after_goodbye_in_mid_reply, after_the_servers_goodbye),
        ),
        Shaping.OFF,
    ),
    in_a_train: Shaping.REPLY,
    endless_train: Shaping.CONSTANT,
}


class PeerTestCase(TestCase):
    """A server and a robot whose clock is a fake."""

    timeout = 300

    def start(self, shaping: Shaping) -> None:
        self.clock = Clock()
        self.others: list[Peer] = []
        clock_reactor: Any = FakeTimeReactor(self.clock)
        self.model = OpenAIPeer(reactor)
        model_port = reactor.listenTCP(0, self.model, interface="127.0.0.1")
        self.addCleanup(model_port.stopListening)
        url = base_url(f"http://127.0.0.1:{model_port.getHost().port}")
        robot = OpenAIRobot(
            clock_reactor, OpenAISettings(url=(url,), model="m", first_timeout=FIRST_TIMEOUT, timeout=20.0)
        )
        guarded = GuardedRobot(cast(IRobot, robot), FairQueue(PLACES), CircuitBreaker(self.clock.seconds))
        settings = ServerSettings(
            names=(NAME,), shaping=shaping, tick=STEP, idle_timeout=IDLE, message_burst=MANY, handshake_burst=MANY
        )
        self.factory = ChatServerFactory(
            settings, identity(), Anyone(), cast(IRobot, guarded), clock_reactor, self.clock.seconds
        )
        listening = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.port = listening.getHost().port

    async def turn(self) -> None:
        """One turn of the reactor, and of what the fake clock has to do in it."""
        await deferLater(reactor, 0.0005)
        self.clock.advance(0)

    async def asked(self, number: int) -> None:
        for _ in range(2000):
            if len(self.model.asked) >= number:
                return
            await self.turn()
        raise AssertionError("the robot was not asked")

    def sockets(self) -> set[str]:
        """The sockets of this process."""
        found = set()
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the directory's own descriptor is closed already
                found.add(os.readlink(f"/proc/self/fd/{name}"))
        return {name for name in found if name.startswith("socket:")}

    async def run_point(self, point: Point, shaping: Shaping, act: Act) -> float:
        """Seconds until the server had let go of everything."""
        self.start(shaping)
        before = self.sockets()
        peer = Peer(self)
        await point(self, peer)
        await act(peer)
        for other in self.others:
            await other.reset()
        for _ in range(3):
            await self.turn()
        began = self.clock.seconds()
        while self.factory.sessions or self.clock.getDelayedCalls() or self.model.open:
            if self.clock.seconds() - began > 2 * STALLED:
                raise AssertionError(
                    f"{point.__name__}: {self.factory.sessions} {self.clock.getDelayedCalls()} {self.model.open}"
                )
            self.clock.advance(STEP)
            await self.turn()
        ended = self.clock.seconds() - began
        self.assertEqual(self.factory.admission.sessions.total, 0, point.__name__)
        peer.socket.close()
        for _ in range(3):
            await self.turn()
        self.assertEqual(self.sockets(), before, point.__name__)
        return ended


class PeerTests(PeerTestCase):
    """Each point of a session."""

    async def run_all(self, act: Act, limit: float) -> None:
        if not os.path.isdir("/proc/self/fd"):
            raise SkipTest("uses Linux's /proc and TCP_INFO")
        for point, shaping in POINTS.items():
            seconds = await self.run_point(point, shaping, act)
            self.assertLessEqual(seconds, limit, point.__name__)

    async def test_reset(self) -> None:
        """A peer may reset its connection at any point."""
        await self.run_all(Peer.reset, GONE)

    async def test_halfClose(self) -> None:
        """A peer may close its half of the connection at any point, and read no more."""
        await self.run_all(Peer.half_close, GONE)

    async def test_stall(self) -> None:
        """A peer may stall at any point."""
        await self.run_all(Peer.stall, STALLED)
