"""A real ssh-agent, and agents that lie."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from securechat import agent, keys
from securechat.agent import agent_keys, agent_sign
from securechat.errors import ConfigurationError
from securechat.key_files import load_private_key
from tests.pair import USER_KEY
from tests.ssh import make_key

REACTOR = cast(agent.IAgentReactor, reactor)
DATA = keys.signed_data(b"securechat-v1-client", b"message")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class AgentTestCase(TestCase):
    """A short directory for a socket: the path of one has at most 107 bytes."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "agent")
        self.environ = {"SSH_AUTH_SOCK": self.path}

    async def assertRefused(self, words: str, *work: Any) -> None:
        """`work` ends in a ConfigurationError that has these words."""
        try:
            await work[0](*work[1:])
        except ConfigurationError as error:
            self.assertIn(words, str(error))
        else:
            self.fail("not refused")


class RealAgentTests(AgentTestCase):
    """OpenSSH's own agent."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        process = subprocess.Popen(["ssh-agent", "-D", "-a", self.path], stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.terminate)
        while not os.path.exists(self.path):
            await deferLater(cast(Any, reactor), 0.02)

    def add(self, kind: str = "ed25519", comment: str = "work key") -> Path:
        key = make_key(Path(self.mktemp()), kind=kind, comment=comment)
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, **self.environ}, check=True, timeout=10)
        return key

    async def test_keysAndSignature(self) -> None:
        """Its Ed25519 keys are listed, other types are not, and it signs."""
        self.assertEqual(await agent_keys(REACTOR, self.environ), [])
        path = self.add()
        self.add("ecdsa")
        [found] = await agent_keys(REACTOR, self.environ)
        self.assertEqual((found.blob, found.comment), (load_private_key(path).blob, "work key"))
        signature = await agent_sign(REACTOR, self.environ, found.blob, DATA)
        self.assertTrue(keys.verify(found.blob, signature, DATA))

    async def test_anotherKey(self) -> None:
        """A key that it does not have it does not sign with."""
        await self.assertRefused("refused", agent_sign, REACTOR, self.environ, USER_KEY.blob, DATA)


class LyingAgentTests(AgentTestCase):
    """Agents that answer anything, or nothing."""

    def listen(self, answer: Callable[[bytes], bytes | None]) -> None:
        """An agent that answers each request so; None: it hangs up."""

        class Liar(Protocol):
            def dataReceived(self, data: bytes) -> None:
                said = answer(data)
                assert self.transport is not None
                if said is None:
                    self.transport.loseConnection()
                else:
                    for position in range(len(said)):
                        self.transport.write(said[position : position + 1])

        port = cast(Any, reactor).listenUNIX(self.path, Factory.forProtocol(Liar))
        self.addCleanup(port.stopListening)

    async def test_none(self) -> None:
        """No agent, or nobody at its socket."""
        await self.assertRefused("SSH_AUTH_SOCK", agent_keys, REACTOR, {})
        await self.assertRefused("no ssh-agent at", agent_keys, REACTOR, self.environ)

    async def test_brokenAnswers(self) -> None:
        """Answers that are cut, of another type, or overlong."""
        said: list[bytes | None] = [None]
        self.listen(lambda request: said[0])
        for answer, words in (
            (None, "without an answer"),
            (bytes(4), "without an answer"),
            ((2**20).to_bytes(4, "big"), "without an answer"),
            (string(b"\x05"), "refused"),
            (string(b"\x0c"), "cannot be read"),
            (string(b"\x0c\0\0\0\x01" + string(b"x")), "cannot be read"),
            (string(b"\x0c\0\0\0\x01" + string(USER_KEY.blob[:-1]) + string(b"")), "cannot be read"),
        ):
            said[0] = answer
            await self.assertRefused(words, agent_keys, REACTOR, self.environ)

    async def test_wrongSignatures(self) -> None:
        """A signature that does not verify is not passed on."""
        wrong = keys.SigningKey.generate().sign(DATA)
        said = [b""]
        self.listen(lambda request: said[0])
        for answer, words in (
            (b"\x0e", "cannot be read"),
            (b"\x0e" + string(string(b"ssh-ed25519") + string(wrong)), "does not verify"),
            (b"\x0e" + string(string(b"ssh-rsa") + string(USER_KEY.sign(DATA))), "does not verify"),
        ):
            said[0] = string(answer)
            await self.assertRefused(words, agent_sign, REACTOR, self.environ, USER_KEY.blob, DATA)

    def test_silence(self) -> None:
        """An agent that says nothing is given 25 seconds."""
        memory = MemoryReactorClock()
        asked: Deferred[Any] = ensureDeferred(agent_keys(cast(Any, memory), self.environ))
        [(_path, factory, *_rest)] = memory.unixClients
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.assertNoResult(asked)
        self.assertEqual(transport.value(), string(b"\x0b"))
        assert isinstance(memory, Clock)
        memory.advance(25)
        self.assertIn("in time", str(self.failureResultOf(asked, ConfigurationError).value))
        protocol.dataReceived(string(b"\x0c\0\0\0\0"))
        protocol.connectionLost(Failure(ConnectionDone()))
