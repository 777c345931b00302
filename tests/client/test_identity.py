"""The keys that a user may authenticate with."""

import contextlib
import io
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from securechat.client.identity import MAX_OFFERED, agent_signers, file_signers, renewed, usable
from securechat.client.reactor import IClientReactor
from securechat.client.signer import NoSignatureError, Signer
from securechat.errors import ConfigurationError
from securechat.ssh import keys
from securechat.ssh.certificates import CERTIFICATE_TYPE
from securechat.ssh.encoding import string
from securechat.ssh.keys import SigningKey
from tests.harness.certificates import CA, issue
from tests.harness.ssh import make_key

REACTOR = cast(IClientReactor, reactor)


class Agent(Protocol):
    """An agent that lists its keys and signs nothing."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        blobs: list[bytes] = cast(Any, self.factory).blobs
        listed = b"".join(string(blob) + string(b"comment") for blob in blobs)
        self.transport.write(string(b"\x0c" + len(blobs).to_bytes(4, "big") + listed))


class IdentityTests(TestCase):
    """Keys in files and in an agent."""

    def setUp(self) -> None:
        self.keys = [SigningKey.generate() for _key in range(9)]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.environ = {"SSH_AUTH_SOCK": str(self.directory / "agent")}
        self.errors = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.errors))

    def hold(self, *held: SigningKey | bytes) -> None:
        """Run an agent with these keys and certificates."""
        factory: Any = Factory.forProtocol(Agent)
        factory.blobs = [key.blob if isinstance(key, SigningKey) else key for key in held]
        port = cast(Any, reactor).listenUNIX(self.environ["SSH_AUTH_SOCK"], factory)
        self.addCleanup(port.stopListening)

    def public(self, key: SigningKey, name: str = "key.pub") -> Path:
        path = self.directory / name
        path.write_text(f"{keys.public_line(key.blob)} comment\n")
        path.chmod(0o644)
        return path

    async def agent_blobs(self, path: Path | None = None) -> list[bytes]:
        return [signer.blob for signer in await agent_signers(REACTOR, self.environ, path)]

    def not_asked(self, path: Path) -> bytes:
        self.fail(f"asked for the passphrase of {path}")

    async def file_blobs(self, path: Path) -> list[bytes]:
        signers = await file_signers(REACTOR, self.environ, path, self.not_asked)
        return [signer.blob for signer in signers]

    async def test_several(self) -> None:
        """All keys of an agent are tried in its order, each once."""
        self.hold(*self.keys[:3], self.keys[0])
        self.assertEqual(await self.agent_blobs(), [key.blob for key in self.keys[:3]])
        self.assertEqual(self.errors.getvalue(), "")

    async def test_tooMany(self) -> None:
        """A handful of an agent's many keys is tried, and the user is told how to choose another."""
        self.hold(*self.keys)
        self.assertEqual(await self.agent_blobs(), [key.blob for key in self.keys[:MAX_OFFERED]])
        self.assertEqual(
            self.errors.getvalue(),
            "the agent has 9 Ed25519 identities, offering 6; choose another with -i FILE.pub\n",
        )

    async def test_agentHasGone(self) -> None:
        """A key whose agent has gone cannot sign, which is no reason to give it up."""
        self.hold(self.keys[0])
        [signer] = await agent_signers(REACTOR, self.environ, None)
        self.environ["SSH_AUTH_SOCK"] = "/nonexistent"
        signed = signer.sign(b"data")
        assert isinstance(signed, Deferred)
        with self.assertRaises(NoSignatureError) as caught:
            await signed
        self.assertEqual(
            str(caught.exception), "cannot connect to ssh-agent at /nonexistent: No such file or directory"
        )

    async def test_chosen(self) -> None:
        """With a public key in a file, only that key is tried, wherever it is in the agent."""
        self.hold(*self.keys)
        self.assertEqual(await self.agent_blobs(self.public(self.keys[8])), [self.keys[8].blob])

    async def test_publicKey(self) -> None:
        """A public key given in place of the private one is used if the agent has it."""
        self.hold(*self.keys[:2])
        self.assertEqual(await self.file_blobs(self.public(self.keys[1])), [self.keys[1].blob])

    async def test_publicKeyWithoutAgent(self) -> None:
        """If no agent has it, the user is told that it is a public key, and not to change its permissions."""
        path = self.public(self.keys[0])
        words = f"{path}: this is a public key; use the private key, or add it to the agent with ssh-add"
        for prepare in (lambda: self.environ.clear(), lambda: self.environ.update(SSH_AUTH_SOCK="/nonexistent")):
            prepare()
            with self.assertRaises(ConfigurationError) as caught:
                await self.file_blobs(path)
            self.assertEqual(str(caught.exception), words)
        self.environ["SSH_AUTH_SOCK"] = str(self.directory / "agent")
        self.hold(self.keys[1])
        with self.assertRaises(ConfigurationError) as caught:
            await self.file_blobs(path)
        self.assertEqual(str(caught.exception), words)

    def certificate(self, key: SigningKey, name: str = "key-cert.pub", ca: SigningKey = CA) -> bytes:
        """A file with a certificate for a key; its blob."""
        blob = issue(key, b"alice", ca=ca)
        self.write_certificate(blob, name)
        return blob

    def write_certificate(self, blob: bytes, name: str = "key-cert.pub") -> Path:
        path = self.directory / name
        path.write_text(f"{CERTIFICATE_TYPE.decode()} {b64encode(blob).decode()} comment\n")
        return path

    def private(self, key: SigningKey) -> Path:
        path = self.directory / "key"
        path.write_bytes(key.private_bytes())
        path.chmod(0o600)
        return path

    async def test_certificate(self) -> None:
        """A certificate beside a private key is tried before the key itself, and signs with the key."""
        path, blob = self.private(self.keys[0]), self.certificate(self.keys[0])
        with_certificate, alone = await file_signers(REACTOR, self.environ, path, self.not_asked)
        self.assertEqual((with_certificate.blob, alone.blob), (blob, self.keys[0].blob))
        self.assertEqual(with_certificate.fingerprint, alone.fingerprint)
        self.assertEqual((with_certificate.is_certificate, alone.is_certificate), (True, False))
        self.assertEqual(with_certificate.sign(b"x"), alone.sign(b"x"))
        self.assertEqual(self.errors.getvalue(), "")

    async def test_renewedCertificate(self) -> None:
        """A certificate that has been renewed is used for the next connection; without one, the last is."""
        path = self.private(self.keys[0])
        blob = self.certificate(self.keys[0])
        signer, alone = await file_signers(REACTOR, self.environ, path, self.not_asked)
        name = "[localhost]:8080"
        self.assertEqual(renewed(signer, name), signer)
        later = issue(self.keys[0], b"alice", serial=8)
        self.write_certificate(later)
        self.assertEqual(renewed(signer, name).blob, later)
        self.assertEqual(renewed(signer, name).sign(b"x"), alone.sign(b"x"))
        (self.directory / "key-cert.pub").unlink()
        self.assertEqual((renewed(signer, name).blob, renewed(alone, name)), (blob, alone))

    async def test_renewedTooLong(self) -> None:
        """A renewed certificate that does not fit into the record is named, and the last one is used."""
        path = self.private(self.keys[0])
        blob = self.certificate(self.keys[0])
        signer, _alone = await file_signers(REACTOR, self.environ, path, self.not_asked)
        self.write_certificate(issue(self.keys[0], b"x" * 400))
        self.assertEqual(renewed(signer, "[localhost]:8080").blob, blob)
        self.assertIn("bytes too long to be used", self.errors.getvalue())

    async def test_badCertificate(self) -> None:
        """A certificate that cannot be used is named, and the key is used without it."""
        path = self.private(self.keys[0])
        beside = self.directory / "key-cert.pub"
        for prepare, words in (
            (lambda: self.certificate(self.keys[1]), "not a certificate for this key"),
            (lambda: beside.write_text(keys.public_line(self.keys[0].blob)), "not a certificate for this key"),
            (lambda: beside.write_text("nonsense"), "not an Ed25519 public key"),
            (lambda: self.write_certificate(self.keys[0].blob), "not a certificate for an Ed25519 key"),
            (lambda: self.write_certificate(issue(self.keys[0], b"x")[:-1]), "not a valid certificate"),
        ):
            prepare()
            self.assertEqual(await self.file_blobs(path), [self.keys[0].blob])
            self.assertIn(f"ignoring the certificate: {beside}: {words}", self.errors.getvalue())
            self.errors.truncate(0)

    async def test_agentsCertificates(self) -> None:
        """Certificates in the agent are tried in its order; those that no server accepts are not."""
        blob = issue(self.keys[0], b"alice")
        rsa = blob.replace(
            string(b"ssh-ed25519") + string(CA.blob[-32:]), string(b"ssh-ed25518") + string(CA.blob[-32:])
        )
        self.hold(self.keys[0], blob, rsa, self.keys[1])
        self.assertEqual(await self.agent_blobs(), [self.keys[0].blob, blob, self.keys[1].blob])

    async def test_chosenCertificate(self) -> None:
        """With a public key, its certificates come first, from the file beside it or the agent; or one is chosen."""
        key, blob = self.keys[0], issue(self.keys[0], b"alice")
        self.hold(self.keys[1], key, blob)
        public = self.public(key)
        self.assertEqual(await self.agent_blobs(public), [blob, key.blob])
        beside = self.certificate(key, ca=self.keys[2])
        self.assertEqual(await self.agent_blobs(public), [beside, blob, key.blob])
        self.assertEqual(await self.agent_blobs(self.directory / "key-cert.pub"), [beside])
        self.assertEqual(await self.file_blobs(self.directory / "key-cert.pub"), [beside])
        other = self.write_certificate(issue(self.keys[3], b"alice"), "other-cert.pub")
        with self.assertRaises(ConfigurationError) as caught:
            await self.agent_blobs(other)
        self.assertIn("the agent does not have this identity", str(caught.exception))

    async def test_onlyTheCertificate(self) -> None:
        """An agent may have a certificate, and not the key without it."""
        blob = issue(self.keys[0], b"alice")
        self.hold(blob)
        self.assertEqual(await self.agent_blobs(self.public(self.keys[0])), [blob])
        other = self.certificate(self.keys[0], ca=self.keys[2])
        self.assertEqual(await self.agent_blobs(self.directory / "key.pub"), [other, blob])

    async def test_tooLong(self) -> None:
        """A certificate that does not fit into the record is not tried, and it is an error if there is nothing else."""
        signers = [Signer(issue(self.keys[0], b"x" * size), self.keys[0].sign) for size in (400, 20)]
        name = "[localhost]:8080"
        self.assertEqual(usable([*signers, Signer(self.keys[0].blob, self.keys[0].sign)], name)[0], signers[1])
        self.assertIn("bytes too long to be used; sign one with a shorter key ID", self.errors.getvalue())
        self.assertRaises(ConfigurationError, usable, signers[:1], name)

    async def test_passphrase(self) -> None:
        """The user has three attempts at a passphrase, as with ssh."""
        path = make_key(self.directory / "locked", passphrase="right")
        for answers, is_open in (([b"right"], True), ([b"wrong", b"", b"right"], True), ([b"1", b"2", b"3"], False)):
            left = [*answers]

            def ask(_path: Path, left: list[bytes] = left) -> bytes:
                return left.pop(0)

            try:
                await file_signers(REACTOR, self.environ, path, ask)
            except ConfigurationError as error:
                self.assertEqual((str(error), is_open), (f"{path}: incorrect passphrase", False))
            else:
                self.assertTrue(is_open)
            self.assertEqual(left, [])

    async def test_privateKey(self) -> None:
        """A private key in a file is used alone, and the agent is not asked."""
        path = self.directory / "key"
        path.write_bytes(self.keys[0].private_bytes())
        path.chmod(0o600)
        self.environ.clear()
        self.assertEqual(await self.file_blobs(path), [self.keys[0].blob])
