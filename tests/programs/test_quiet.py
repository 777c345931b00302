"""What an observer learns of the replies from the moments at which the real client sends."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from securechat.wire.suites import DEFAULT_SUITE, SUITES
from tests.harness.daemon import ENVIRON, Daemon, reactor
from tests.harness.observer import Observer

FRAME = 4 + SUITES[DEFAULT_SUITE].record_size
SHORT = 1  # bytes of the first reply
LONG = 20_000  # bytes; the five replies are in the bucket of 50, too
FAR = 20  # records from one burst to the next, at least
SLACK = 15  # records that may arrive while the client reads the last ones of a bucket, on a busy machine


class MomentTests(TestCase):
    """Seven lines in a pipe: a reply of any length, and six short ones."""

    timeout = 240

    async def observe(self, size: int, *options: str) -> list[int]:
        """The number of the server's records before each burst of the client but the first."""
        observer = Observer()
        listening = reactor.listenTCP(0, observer, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        there = f"127.0.0.1:{listening.getHost().port}"
        daemon = Daemon(self.mktemp(), "--name", f"[{there.replace(':', ']:')}", "--robot", "echo", *options)
        self.addCleanup(daemon.stop)
        await daemon.started()
        observer.port = daemon.port
        known_hosts = str(Path(self.mktemp()).absolute())
        lines = ["x" * size, *["ok"] * 6]

        def run() -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "securechat.client",
                    there,
                    "--accept-new",
                    "--known-hosts",
                    known_hosts,
                    "--lines",
                    "--wait",
                ],
                input="\n".join(lines).encode(),
                capture_output=True,
                cwd="/",
                env=ENVIRON,
                timeout=60,
            )

        done = await deferToThread(run)
        self.assertEqual((done.returncode, done.stdout.decode().split()), (0, lines), done.stderr)
        counts = [seen // FRAME for seen in observer.client.moments]
        return [after for before, after in pairwise(counts) if after - before >= FAR]

    async def both(self, *options: str) -> list[list[int]]:
        """What an observer sees of a short and of a long reply."""
        return await gatherResults(
            [Deferred.fromCoroutine(self.observe(size, *options)) for size in (SHORT, LONG)], consumeErrors=True
        )

    async def test_reply(self) -> None:
        """Five messages go out together, the others when the train has ended, and GOODBYE after the next train."""
        short, long = await self.both("--shaping", "reply", "--tick", "0.01")
        self.assertEqual(short, long)
        [again, goodbye] = short
        self.assertEqual(goodbye - again, 50)

    async def test_constant(self) -> None:
        """With an endless train, the other messages and GOODBYE wait for the end of a bucket."""
        for again, goodbye in await self.both("--shaping", "constant", "--tick", "0.05"):
            for count in again, goodbye - again:
                self.assertIn(count, range(50 - SLACK, 50 + SLACK))
