"""Certificates from ssh-keygen, in the client as users run it, and a daemon as operators run it."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from securechat.client.signer import Signer
from securechat.ssh import keys
from securechat.ssh.certificates import parse_certificate_line
from securechat.ssh.private_keys import load_private_key
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import ENVIRON, Daemon, Talk
from tests.harness.ssh import make_key, sign_key
from tests.programs.test_client import ProgramTestCase


class CertificateTests(ProgramTestCase):
    """A team whose authority is `ca`."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.ca = make_key(self.directory / "ca")
        self.key = make_key(self.directory / "key")

    def public(self, path: Path) -> str:
        return path.with_suffix(".pub").read_text().strip()

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    async def serve(self, line: str, *options: str) -> Daemon:
        """A daemon whose authorized keys have this line."""
        path = self.file("team", line)
        daemon = await self.start("--robot", "echo", "--authorized-keys", str(path), *options)
        self.there = [*self.to(daemon), "-m", "hi"]
        return daemon

    async def test_issued(self) -> None:
        """A user who gets a certificate is admitted without a change at the server, and is named in its log."""
        log = ("--log-format", "json")
        daemon = await self.serve(f'cert-authority,principals="chat" {self.public(self.ca)}', *log)
        await self.assertEnds(4, "is not authorized", *self.there, "-i", self.key)
        sign_key(self.ca, self.key, "-I", "Alice on laptop", "-n", "x,chat", "-z", "7", "-V", "+1h")
        status, output, errors = await self.run_client(*self.there, "-i", self.key, "-v")
        self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertIn("offering certificate ED25519-CERT SHA256:", errors)
        lines = [json.loads(line) for line in daemon.text().splitlines()]
        [admitted] = [line for line in lines if line.get("event") == "admitted"]
        ca, key = (keys.fingerprint(keys.parse_public_line(self.public(path))[0]) for path in (self.ca, self.key))
        self.assertEqual((admitted["user"], admitted["key"]), ("Alice on laptop", key))
        self.assertEqual(admitted["certificate"], f'ID "Alice on laptop" (serial 7) CA {ca}')

    async def test_refused(self) -> None:
        """An expired certificate, another principal, address or authority, and a command are refused."""
        await self.serve(f"cert-authority {self.public(self.ca)[:-4]}alice")
        stranger = make_key(self.directory / "stranger")
        good = ("-I", "x", "-n", "alice", "-O", "source-address=127.0.0.0/8")
        for ca, options in (
            (self.ca, (*good, "-V", "-2h:-1h")),
            (self.ca, (*good, "-V", "+1h:+2h")),
            (self.ca, ("-I", "x", "-n", "bob")),
            (self.ca, ("-I", "x", "-n", "alice", "-O", "source-address=192.0.2.0/24")),
            (self.ca, (*good, "-O", "force-command=/bin/true")),
            (stranger, good),
        ):
            sign_key(ca, self.key, *options)
            await self.assertEnds(4, "is not authorized", *self.there, "-i", self.key)
        sign_key(self.ca, self.key, *good)
        self.assertEqual((await self.run_client(*self.there, "-i", self.key))[:2], (0, "hi\n"))

    async def test_bothAccepted(self) -> None:
        """A certificate that the server refuses does not keep a key out that is authorized by itself."""
        await self.serve(self.public(self.key))
        sign_key(self.ca, self.key, "-I", "x", "-n", "alice", "-V", "-2h:-1h")
        self.assertEqual((await self.run_client(*self.there, "-i", self.key))[:2], (0, "hi\n"))

    async def test_agent(self) -> None:
        """ssh-agent signs for a certificate that was added to it with its key, or that is in a file."""
        await self.serve(f'cert-authority,principals="chat" {self.public(self.ca)}')
        agent = str(self.directory / "agent")
        process = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        environ: dict[str, Any] = {"SSH_AUTH_SOCK": agent}
        while not Path(agent).exists():
            await deferToThread(process.poll)

        async def add() -> None:
            command = ["ssh-add", "-q", str(self.key)]
            await deferToThread(subprocess.run, command, env={**ENVIRON, **environ}, check=True, timeout=60)

        await add()
        self.assertEqual((await self.run_client(*self.there, "--agent", **environ))[0], 4)
        sign_key(self.ca, self.key, "-I", "x", "-n", "chat")
        from_file = await self.run_client(*self.there, "--agent", "-i", self.key, **environ)
        self.assertEqual(from_file[:2], (0, "hi\n"), from_file[2])
        await add()
        self.key.with_name("key-cert.pub").unlink()
        from_agent = await self.run_client(*self.there, "--agent", **environ)
        self.assertEqual(from_agent[:2], (0, "hi\n"), from_agent[2])

    async def test_revoked(self) -> None:
        """SIGHUP ends the sessions of an authority that has been revoked."""
        revoked = self.file("revoked", "")
        options = ("--revoked-keys", str(revoked))
        daemon = await self.serve(f'cert-authority,principals="chat" {self.public(self.ca)}', *options)
        sign_key(self.ca, self.key, "-I", "alice", "-n", "chat")
        blob, _comment = parse_certificate_line(self.key.with_name("key-cert.pub").read_text())
        signer = Signer(blob, load_private_key(self.key).sign)
        talk = await Talk().start(daemon.port, signer=signer)
        assert talk.about is not None
        self.assertEqual(talk.about.user, "alice")
        revoked.write_text(self.public(self.ca))
        daemon.hang_up()
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))
        await self.assertEnds(4, "is not authorized", *self.there, "-i", self.key)
