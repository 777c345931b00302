"""What somebody on the path sees of real sessions with each robot: frames of one size, as many as a bucket has."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from securechat.wire.shaping import is_bucket
from securechat.wire.suites import DEFAULT_SUITE, LENGTH_SIZE, SUITES
from tests.harness.daemon import Daemon, Talk
from tests.harness.observer import Observer
from tests.harness.openai_peer import OpenAIPeer
from tests.harness.turing_peer import KEY, PATH, TuringPeer

reactor: Any = installed

MESSAGES = ("你好", "x" * 700, "tell me something longer, please")
TICK = 0.01  # seconds
BUCKET_TIMEOUT = 10.0  # seconds
CLOSED_PORT = 1  # tcpmux
HANDSHAKE = 1  # frames each way before the first record: Hello, Welcome


def sizes(stream: bytes) -> list[int]:
    """The lengths of a stream's frames; it has to end with one."""
    found = []
    while stream:
        size = int.from_bytes(stream[:4], "big")
        assert len(stream) >= 4 + size
        found.append(size)
        stream = stream[4 + size :]
    return found


def at_once(*work: Coroutine[Any, Any, None]) -> "Deferred[list[None]]":
    """Run all of these at the same time, because most of each is waiting."""
    return gatherResults(map(Deferred.fromCoroutine, work), consumeErrors=True)


class WireTests(TestCase):
    """A daemon, an observer and a client, all over real sockets."""

    timeout = 240

    async def observe(self, suite: bytes, *options: str, **environ: str) -> str:
        """Talk to a robot; what it said. Fails if its frames say more than that there were some."""
        observer = Observer()
        listening = reactor.listenTCP(0, observer, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        name = f"[127.0.0.1]:{listening.getHost().port}"
        daemon = Daemon(self.mktemp(), "--name", name, "--tick", str(TICK), *options, **environ)
        self.addCleanup(daemon.stop)
        await daemon.started()
        observer.port = daemon.port
        talk = await Talk().start(listening.getHost().port, suite=suite)
        replies = []
        frame_size = SUITES[suite].record_size + LENGTH_SIZE
        seen = await observer.silence(30 * TICK)
        for text in MESSAGES:
            replies.append(await talk.ask(text))
            frames = await self.bucket(observer, seen, frame_size)
            self.assertTrue(is_bucket(frames), frames)
            seen += frames * frame_size
        talk.client.leaveQuietly()
        await talk.end
        for side in observer.client, observer.server:
            self.assertEqual(set(sizes(bytes(side.seen))[HANDSHAKE:]), {SUITES[suite].record_size})
        return " ".join(replies)

    async def bucket(self, observer: Observer, start: int, frame_size: int) -> int:
        """Wait until the frames since byte `start` fill a bucket, and return their number.

        On a busy machine, a daemon can be silent in the middle of a bucket.
        """
        end = reactor.seconds() + BUCKET_TIMEOUT
        while True:
            frames, rest = divmod(await observer.silence(30 * TICK) - start, frame_size)
            if (rest == 0 and is_bucket(frames)) or reactor.seconds() > end:
                self.assertEqual(rest, 0)
                return frames

    async def test_offline(self) -> None:
        """The robots that need no network, in both suites."""

        async def check(suite: bytes) -> None:
            self.assertIn("tell me something longer", await self.observe(suite, "--robot", "echo"))
            self.assertNotIn("[", await self.observe(suite, "--robot", "eliza"))

        await at_once(*map(check, SUITES))

    async def test_turing(self) -> None:
        """The Turing robot, and the one after it when it is down."""
        service = reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1")
        self.addCleanup(service.stopListening)

        async def check(words: str, port: int, *options: str) -> None:
            robot = ("--robot", "turing", "-R", f"url=http://127.0.0.1:{port}{PATH}", *options)
            self.assertIn(words, await self.observe(DEFAULT_SUITE, *robot, SECURECHAT_TURING_KEY=KEY))

        await at_once(
            check("你好", service.getHost().port),
            check("turing cannot be reached; eliza answers", CLOSED_PORT, "--robot", "eliza"),
        )

    async def test_openai(self) -> None:
        """A server that streams, word by word, with thoughts and comments between."""
        service = reactor.listenTCP(0, OpenAIPeer(reactor), interface="127.0.0.1")
        self.addCleanup(service.stopListening)
        url = f"url=http://127.0.0.1:{service.getHost().port}"

        async def check(suite: bytes) -> None:
            self.assertIn("tell me something longer", await self.observe(suite, "--robot", "openai", "-R", url))

        await at_once(*map(check, SUITES))
