"""Signing with the user's key, in a file or in an agent over memory."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.identity import agent_signers, file_signers, public_key
from securechat.client.signer import Signer
from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.ssh import keys
from securechat.ssh.certificates import CERTIFICATE_TYPE
from securechat.ssh.encoding import string
from tests.harness.certificates import issue
from tests.harness.client_reactor import ClientReactor
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key

OTHER = keys.SigningKey.generate()
DATA = keys.signed_data(b"securechat-v1-client", b"message")
ENVIRON = {"SSH_AUTH_SOCK": "/agent"}


def no_passphrase(path: Path) -> bytes:
    raise AssertionError("asked for a passphrase")


class FileSignerTests(SynchronousTestCase):
    """A key in a file."""

    def load(self, path: Path, ask: Callable[[Path], bytes]) -> "Deferred[list[Signer]]":
        return Deferred.fromCoroutine(file_signers(cast(Any, ClientReactor()), {}, path, ask))

    def test_plain(self) -> None:
        """The key signs, and no passphrase is asked for."""
        path = make_key(Path(self.mktemp()))
        [signer] = self.successResultOf(self.load(path, no_passphrase))
        self.assertEqual(signer.blob, public_key(path))
        self.assertEqual(signer.fingerprint, keys.fingerprint(signer.blob))
        signature = signer.sign(DATA)
        assert isinstance(signature, bytes)
        self.assertTrue(keys.verify(signer.blob, signature, DATA))

    def test_passphrase(self) -> None:
        """The passphrase of an encrypted key is asked for once, with the file's name."""
        path = make_key(Path(self.mktemp()), passphrase="secret")
        asked: list[Path] = []

        def ask(path: Path) -> bytes:
            asked.append(path)
            return b"secret"

        [signer] = self.successResultOf(self.load(path, ask))
        self.assertEqual((signer.blob, asked), (public_key(path), [path]))
        signer.sign(DATA)
        self.assertEqual(asked, [path])

    def test_wrong(self) -> None:
        """A wrong passphrase is an error that does not contain it."""
        path = make_key(Path(self.mktemp()), passphrase="secret")
        error = self.failureResultOf(self.load(path, lambda path: b"battery"), ConfigurationError).value
        self.assertNotIn("battery", str(error))


class PublicKeyTests(SynchronousTestCase):
    """The file that names one of the agent's keys."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_beside(self) -> None:
        """The public key is beside the private one, or is the file itself."""
        self.path.write_text("private")
        Path(f"{self.path}.pub").write_text(f"{keys.public_line(USER_KEY.blob)} me@home\n")
        self.assertEqual(public_key(self.path), USER_KEY.blob)
        self.assertEqual(public_key(Path(f"{self.path}.pub")), USER_KEY.blob)

    def test_alone(self) -> None:
        """Empty lines and comments before the key are skipped, and the first key counts."""
        lines = ("", "# mine", "  ", keys.public_line(USER_KEY.blob), keys.public_line(OTHER.blob))
        self.path.write_text("\n".join(lines))
        self.assertEqual(public_key(self.path), USER_KEY.blob)

    def test_wrong(self) -> None:
        """Anything else is an error with the file's name."""
        for text in ("", "# only a comment\n", "nonsense\n", "ssh-rsa AAAA\n", USER_KEY.private_bytes().decode()):
            self.path.write_text(text)
            error = self.assertRaises(ConfigurationError, public_key, self.path)
            self.assertTrue(str(error).startswith(f"{self.path}: "), error)
        self.path.write_text(f"nonsense\n{keys.public_line(USER_KEY.blob)}\n")
        self.assertRaises(ConfigurationError, public_key, self.path)
        self.path.unlink()
        self.assertRaises(ConfigurationError, public_key, self.path)

    def test_wrongBeside(self) -> None:
        """The error names the file that was read."""
        self.path.write_text(keys.public_line(USER_KEY.blob))
        Path(f"{self.path}.pub").write_text("nonsense")
        error = self.assertRaises(ConfigurationError, public_key, self.path)
        self.assertTrue(str(error).startswith(f"{self.path}.pub: "), error)


class AgentSignerTests(SynchronousTestCase):
    """A key in an agent, over memory."""

    def setUp(self) -> None:
        self.reactor = ClientReactor()
        self.transports: list[StringTransport] = []

    def answer(self, reply: bytes | None) -> bytes:
        """Answer the last request to the agent, or close the connection if the reply is None; the request."""
        path, factory, *_rest = self.reactor.unixClients[-1]
        self.assertEqual(path, "/agent")
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        self.transports.append(transport)
        protocol.makeConnection(transport)
        request: bytes = transport.value()
        if reply is not None:
            protocol.dataReceived(string(reply))
        protocol.connectionLost(Failure(ConnectionDone()))
        return request

    def list_keys(self, path: Path | None, *held: keys.SigningKey) -> "Deferred[list[Signer]]":
        """Ask for the signers of an agent that holds these keys."""
        signers = Deferred.fromCoroutine(agent_signers(cast(Any, self.reactor), ENVIRON, path))
        keys_and_comments = b"".join(string(key.blob) + string(b"comment") for key in held)
        self.assertEqual(self.answer(b"\x0c" + len(held).to_bytes(4, "big") + keys_and_comments), string(b"\x0b"))
        return signers

    def write_public(self, key: keys.SigningKey) -> Path:
        path = Path(self.mktemp())
        path.write_text(keys.public_line(key.blob))
        return path

    def test_notHeld(self) -> None:
        """A key that the agent does not have, and an agent without keys, are errors; no other key is used."""
        path = self.write_public(USER_KEY)
        error = self.failureResultOf(self.list_keys(path, OTHER), ConfigurationError).value
        self.assertTrue(str(error).startswith(f"{path}: "), error)
        self.failureResultOf(self.list_keys(path), ConfigurationError)
        self.failureResultOf(self.list_keys(None), ConfigurationError)

    def test_anotherReply(self) -> None:
        """A reply of another type is not taken for a list of keys, whatever it has in it."""
        signers = Deferred.fromCoroutine(agent_signers(cast(Any, self.reactor), ENVIRON, None))
        self.answer(b"\x0e\0\0\0\x01" + string(USER_KEY.blob) + string(b""))
        self.failureResultOf(signers, ConfigurationError)

    def test_signs(self) -> None:
        """The agent is asked to sign with the chosen key, without flags, and its connections are closed."""
        [_other, signer] = self.successResultOf(self.list_keys(None, OTHER, USER_KEY))
        signature = cast(Deferred[bytes], signer.sign(DATA))
        inner = string(b"ssh-ed25519") + string(USER_KEY.sign(DATA))
        request = self.answer(b"\x0e" + string(inner))
        self.assertEqual(request, string(b"\x0d" + string(USER_KEY.blob) + string(DATA) + bytes(4)))
        self.assertEqual(self.successResultOf(signature), USER_KEY.sign(DATA))
        self.assertEqual([transport.disconnected for transport in self.transports], [True, True])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_certificate(self) -> None:
        """The agent is asked to sign with the certificate that it has, and the signature is that of the key."""
        blob = issue(USER_KEY, b"alice")
        signers = Deferred.fromCoroutine(agent_signers(cast(Any, self.reactor), ENVIRON, None))
        self.answer(b"\x0c\0\0\0\x01" + string(blob) + string(b""))
        [signer] = self.successResultOf(signers)
        signature = cast(Deferred[bytes], signer.sign(DATA))
        request = self.answer(b"\x0e" + string(string(b"ssh-ed25519") + string(USER_KEY.sign(DATA))))
        self.assertEqual(request, string(b"\x0d" + string(blob) + string(DATA) + bytes(4)))
        self.assertEqual(self.successResultOf(signature), USER_KEY.sign(DATA))

    def test_certificateInAFile(self) -> None:
        """The agent is asked to sign with the key that it has, for a certificate that is in a file."""
        path = self.write_public(USER_KEY)
        blob = issue(USER_KEY, b"alice")
        line = f"{CERTIFICATE_TYPE.decode()} {b64encode(blob).decode()}"
        path.with_name(f"{path.name}-cert.pub").write_text(line)
        [signer, alone] = self.successResultOf(self.list_keys(path, OTHER, USER_KEY))
        self.assertEqual((signer.blob, alone.blob), (blob, USER_KEY.blob))
        signature = cast(Deferred[bytes], signer.sign(DATA))
        request = self.answer(b"\x0e" + string(string(b"ssh-ed25519") + string(USER_KEY.sign(DATA))))
        self.assertEqual(request, string(b"\x0d" + string(USER_KEY.blob) + string(DATA) + bytes(4)))
        self.assertEqual(self.successResultOf(signature), USER_KEY.sign(DATA))

    def test_refuses(self) -> None:
        """If the agent does not sign, or wrongly, this is a failed authentication for the user."""
        wrong = string(b"ssh-ed25519") + string(OTHER.sign(DATA))
        right = string(b"ssh-ed25519") + string(USER_KEY.sign(DATA))
        for reply in (b"\x05", None, b"\x0e" + string(wrong), b"\x0e", b"\x0c" + string(right)):
            [signer] = self.successResultOf(self.list_keys(None, USER_KEY))
            signature = cast(Deferred[bytes], signer.sign(DATA))
            self.answer(reply)
            error = self.failureResultOf(signature, AuthenticationError).value
            self.assertEqual(cast(AuthenticationError, error).category, Category.USER_KEY)
            self.assertIn("agent", str(error))

    def test_cancelled(self) -> None:
        """If the session ends meanwhile, the connection to the agent is closed."""
        [signer] = self.successResultOf(self.list_keys(None, USER_KEY))
        signature = cast(Deferred[bytes], signer.sign(DATA))
        protocol = self.reactor.unixClients[-1][1].buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        signature.cancel()
        self.assertTrue(transport.disconnected)
        self.failureResultOf(signature)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
