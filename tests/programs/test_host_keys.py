"""A host key that is replaced, with the programs as users and operators run them."""

from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.ssh import make_key, ssh_keygen
from tests.programs.test_client import ProgramTestCase


class RotationTests(ProgramTestCase):
    """Two daemons of one service: each in turn gets the next host key announced, and then as its own."""

    def setUp(self) -> None:
        self.old, self.new = (make_key(Path(self.mktemp()).absolute()) for _number in range(2))
        self.known_hosts = Path(self.mktemp()).absolute()

    async def serve(self, *options: str | Path, port: int = 0) -> Daemon:
        """A daemon at a port, so that it can be replaced by another."""
        listen = f"tcp:{port}:interface=127.0.0.1"
        daemon = Daemon(self.mktemp(), "--robot", "echo", "--listen", listen, *map(str, options))
        self.addCleanup(daemon.stop)
        return await daemon.started()

    async def ask(self, port: int, *options: str) -> tuple[int, str, str]:
        there = [f"127.0.0.1:{port}", "--known-hosts", str(self.known_hosts)]
        return await self.run_client(*there, *options, "-m", "hi")

    async def test_rotation(self) -> None:
        """A client that was used during the announcement accepts the new key, and then the old one, unasked."""
        daemon = await self.serve("--host-key", self.old)
        port = daemon.port
        self.assertEqual((await self.ask(port, "--accept-new"))[:2], (0, "hi\n"))
        ssh_keygen("-H", "-f", self.known_hosts)
        before = self.known_hosts.read_text()
        await daemon.stop()
        daemon = await self.serve("--host-key", self.old, "--next-host-key", self.new, port=port)
        await daemon.logged("next host key SHA256:")
        status, output, errors = await self.ask(port, "-v")
        self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertIn("added the server's next host key SHA256:", errors)
        text = self.known_hosts.read_text()
        self.assertTrue(text.startswith(before))
        self.assertEqual(len(text.splitlines()), 2)
        self.assertNotIn("127.0.0.1", text)
        self.assertEqual(self.known_hosts.stat().st_mode & 0o777, 0o600)
        self.assertNotIn("added", (await self.ask(port, "-v"))[2])
        for key in (self.new, self.old, self.new):
            await daemon.stop()
            daemon = await self.serve("--host-key", key, port=port)
            status, output, errors = await self.ask(port)
            self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertEqual(self.known_hosts.read_text(), text)

    async def test_notLearned(self) -> None:
        """A client that accepts one fingerprint only stores nothing, and neither does one that sends no message."""
        daemon = await self.serve("--host-key", self.old, "--next-host-key", self.new)
        status, output, errors = await self.ask(daemon.port, "--host-key", daemon.fingerprint)
        self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertFalse(self.known_hosts.exists())

    async def test_refused(self) -> None:
        """The daemon does not start with a next host key that is missing or the present one."""
        for options, words in (
            (("--next-host-key", "/nonexistent"), "/nonexistent: No such file or directory"),
            (("--host-key", self.old, "--next-host-key", self.old), f"{self.old}: this is the present host key"),
        ):
            daemon = Daemon(self.mktemp(), "--robot", "echo", *map(str, options))
            self.addCleanup(daemon.stop)
            status, output = daemon.failed()
            self.assertEqual(status, 1)
            self.assertIn(words, output)
