"""What somebody on the path sees of real sessions with each robot: frames of one size, as many as a bucket has."""

from typing import Any

from twisted.internet import reactor as installed
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from securechat.wire.shaping import is_bucket
from securechat.wire.suites import DEFAULT_SUITE, SUITES
from tests.harness.daemon import Daemon, Talk
from tests.harness.observer import Observer
from tests.harness.openai_peer import OpenAIPeer
from tests.harness.turing_peer import KEY, PATH, TuringPeer

reactor: Any = installed

MESSAGES = ("你好", "x" * 700, "tell me something longer, please")
TICK = 0.01  # seconds
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


class WireTests(TestCase):
    """A daemon, an observer and a client, all over real sockets."""

    timeout = 60

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
        for text in MESSAGES:
            before = await observer.silence(30 * TICK)
            replies.append(await talk.ask(text))
            records, rest = divmod(await observer.silence(30 * TICK) - before, SUITES[suite].record_size + 4)
            self.assertTrue(is_bucket(records), records)
            self.assertEqual(rest, 0)
        talk.client.leaveQuietly()
        await talk.end
        for side in observer.client, observer.server:
            self.assertEqual(set(sizes(bytes(side.seen))[HANDSHAKE:]), {SUITES[suite].record_size})
        return " ".join(replies)

    async def test_offline(self) -> None:
        """The robots that need no network, in both suites."""
        for suite in SUITES:
            self.assertIn("tell me something longer", await self.observe(suite, "--robot", "echo"))
            self.assertNotIn("[", await self.observe(suite, "--robot", "eliza"))

    async def test_turing(self) -> None:
        """The Turing robot, and the one after it when it is down."""
        service = reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1")
        self.addCleanup(service.stopListening)
        robot = ("--robot", "turing", "-R", f"url=http://127.0.0.1:{service.getHost().port}{PATH}")
        key = {"SECURECHAT_TURING_KEY": KEY}
        self.assertIn("你好", await self.observe(DEFAULT_SUITE, *robot, **key))
        await service.stopListening()
        self.assertIn(
            "turing cannot be reached; eliza answers",
            await self.observe(DEFAULT_SUITE, *robot, "--robot", "eliza", **key),
        )

    async def test_openai(self) -> None:
        """A server that streams, word by word, with thoughts and comments between."""
        service = reactor.listenTCP(0, OpenAIPeer(reactor), interface="127.0.0.1")
        self.addCleanup(service.stopListening)
        url = f"url=http://127.0.0.1:{service.getHost().port}"
        for suite in SUITES:
            said = await self.observe(suite, "--robot", "openai", "-R", url)
            self.assertIn("tell me something longer", said)
