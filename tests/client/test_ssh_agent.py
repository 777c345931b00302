"""The ssh-agent client, with a real agent and with faulty ones."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.error import TimeoutError as ConnectingTimedOut
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from securechat.client.reactor import IClientReactor
from securechat.client.ssh_agent import agent_keys, agent_sign
from securechat.errors import ConfigurationError
from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from tests.harness.agent import Agent
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key

REACTOR = cast(IClientReactor, reactor)
DATA = keys.signed_data(b"securechat-v1-client", b"message")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


STRINGS = [USER_KEY.blob, USER_KEY.blob[:-1], string(b"ssh-ed25519") + string(USER_KEY.sign(DATA)), b"ssh-ed25519"]


class AgentTestCase(TestCase):
    """A short directory for sockets, whose paths are limited to 107 bytes."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "agent")
        self.environ = {"SSH_AUTH_SOCK": self.path}

    async def assertRefused(self, words: str, *work: Any) -> None:
        """`work` raises a ConfigurationError with these words."""
        try:
            await work[0](*work[1:])
        except ConfigurationError as error:
            self.assertIn(words, str(error))
        else:
            self.fail("not refused")


class RealAgentTests(AgentTestCase):
    """OpenSSH's agent."""

    def setUp(self) -> None:
        super().setUp()
        self.agent = Agent(Path(self.path)).start()
        self.addCleanup(self.agent.stop)

    def add(self, kind: str = "ed25519") -> Path:
        key = make_key(Path(self.mktemp()), kind=kind)
        self.agent.add(key)
        return key

    async def test_keysAndSignature(self) -> None:
        """Ed25519 keys are listed, other types are not, and a listed key signs."""
        self.assertEqual(await agent_keys(REACTOR, self.environ), [])
        path = self.add()
        self.add("ecdsa")
        [found] = await agent_keys(REACTOR, self.environ)
        self.assertEqual(found, load_private_key(path).blob)
        signature = await agent_sign(REACTOR, self.environ, found, DATA)
        self.assertTrue(keys.verify(found, signature, DATA))

    async def test_anotherKey(self) -> None:
        """The agent refuses to sign with a key that it does not have."""
        await self.assertRefused("refused", agent_sign, REACTOR, self.environ, USER_KEY.blob, DATA)


class LyingAgentTests(AgentTestCase):
    """Agents with invalid replies, or without replies."""

    def listen(self, answer: Callable[[bytes], bytes | None]) -> None:
        """Run an agent that replies with `answer(request)`, or closes the connection if that is None."""

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
        """A missing SSH_AUTH_SOCK, a missing socket and one without an agent are errors."""
        await self.assertRefused("SSH_AUTH_SOCK", agent_keys, REACTOR, {})
        await self.assertRefused(f"{self.path}: No such file", agent_keys, REACTOR, self.environ)
        Path(self.path).write_bytes(b"")
        await self.assertRefused(f"{self.path}: Connection refused", agent_keys, REACTOR, self.environ)

    async def test_pathTooLong(self) -> None:
        """A path that is too long for a socket is an error at once."""
        environ = {"SSH_AUTH_SOCK": "/" + "\u00fc" * 54}
        await self.assertRefused("File name too long", agent_keys, REACTOR, environ)

    async def test_brokenAnswers(self) -> None:
        """A reply that is truncated, of the wrong type or too long is an error."""
        said: list[bytes | None] = [None]
        self.listen(lambda request: said[0])
        for answer, words in (
            (None, "without a reply"),
            (bytes(4), "without a reply"),
            ((2**20).to_bytes(4, "big"), "without a reply"),
            (string(b"\x05"), "refused"),
            (string(b"\x0c"), "invalid reply"),
            (string(b"\x0c\0\0\0\x01" + string(b"x")), "invalid reply"),
            (string(b"\x0c\0\0\0\x01" + string(USER_KEY.blob[:-1]) + string(b"")), "invalid reply"),
        ):
            said[0] = answer
            await self.assertRefused(words, agent_keys, REACTOR, self.environ)

    async def test_wrongSignatures(self) -> None:
        """An incorrect signature is an error."""
        wrong = keys.SigningKey.generate().sign(DATA)
        said = [b""]
        self.listen(lambda request: said[0])
        for answer, words in (
            (b"\x0e", "invalid reply"),
            (b"\x0e" + string(string(b"ssh-ed25519") + string(wrong)), "incorrect signature"),
            (b"\x0e" + string(string(b"ssh-rsa") + string(USER_KEY.sign(DATA))), "incorrect signature"),
        ):
            said[0] = string(answer)
            await self.assertRefused(words, agent_sign, REACTOR, self.environ, USER_KEY.blob, DATA)

    async def test_hangsUpInTheMiddle(self) -> None:
        """An incomplete reply is an error."""
        whole = string(b"\x0c\0\0\0\0")

        class Quitter(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(whole[:-1])
                self.transport.loseConnection()

        port = cast(Any, reactor).listenUNIX(self.path, Factory.forProtocol(Quitter))
        self.addCleanup(port.stopListening)
        await self.assertRefused("without a reply", agent_keys, REACTOR, self.environ)


class SlowAgentTests(AgentTestCase):
    """An agent over memory, with a fake clock."""

    def ask(self, memory: MemoryReactorClock, work: Any) -> tuple["Deferred[Any]", Any]:
        """Start `work`; its result, and its connection to the agent."""
        asked: Deferred[Any] = ensureDeferred(work)
        [(_path, factory, *_rest)] = memory.unixClients
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return asked, protocol

    def test_byteByByte(self) -> None:
        """A reply may arrive in pieces of any size, and data after it is ignored."""
        answer = string(b"\x0c\0\0\0\x01" + string(USER_KEY.blob) + string(b"mine"))
        for size in (1, 3, len(answer) + 9):
            memory = MemoryReactorClock()
            asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
            for position in range(0, len(answer), size):
                self.assertNoResult(asked)
                self.assertFalse(protocol.transport.disconnected)
                protocol.dataReceived((answer + b"more")[position : position + size])
            [found] = self.successResultOf(asked)
            self.assertEqual(found, USER_KEY.blob)

    def test_length(self) -> None:
        """A reply of more than 256 KiB is aborted before its content is received."""
        for length, aborted in ((2**18, False), (2**18 + 1, True), (2**32 - 1, True), (0, True)):
            memory = MemoryReactorClock()
            _asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
            _asked.addErrback(lambda _failure: None)
            protocol.dataReceived(length.to_bytes(4, "big"))
            self.assertEqual(protocol.transport.disconnected, aborted)
            protocol.connectionLost(Failure(ConnectionDone()))

    def test_manyKeys(self) -> None:
        """Empty keys in a reply are skipped."""
        count = (2**18 - 5) // 8
        memory = MemoryReactorClock()
        asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
        protocol.dataReceived(string(b"\x0c" + count.to_bytes(4, "big") + bytes(8 * count)))
        self.assertEqual(self.successResultOf(asked), [])

    @given(
        st.binary(max_size=200)
        | st.tuples(
            st.sampled_from([b"\x0c\0\0\0\x01", b"\x0c\xff\xff\xff\xff", b"\x0e", b"\x05"]),
            st.lists(st.sampled_from(STRINGS) | st.binary(max_size=80), max_size=5),
        ).map(lambda parts: string(parts[0] + b"".join(map(string, parts[1])))),
        st.booleans(),
    )
    def test_anyBytes(self, said: bytes, sign: bool) -> None:
        """Any reply gives a result or a ConfigurationError."""
        memory = cast(Any, MemoryReactorClock())
        work = agent_sign(memory, self.environ, USER_KEY.blob, DATA) if sign else agent_keys(memory, self.environ)
        asked, protocol = self.ask(memory, work)
        results: list[Any] = []
        asked.addBoth(results.append)
        protocol.dataReceived(said)
        protocol.connectionLost(Failure(ConnectionDone()))
        [result] = results
        if isinstance(result, Failure):
            result.trap(ConfigurationError)
        elif sign:
            self.assertTrue(keys.verify(USER_KEY.blob, result, DATA))

    def test_connectingTimesOut(self) -> None:
        """A timeout while connecting is an error."""
        memory = MemoryReactorClock()
        asked: Deferred[Any] = ensureDeferred(agent_keys(cast(Any, memory), self.environ))
        [(_path, factory, timeout, *_rest)] = memory.unixClients
        self.assertEqual(timeout, 25)
        factory.clientConnectionFailed(None, Failure(ConnectingTimedOut()))
        self.assertIn("timed out", str(self.failureResultOf(asked, ConfigurationError).value))

    def test_silence(self) -> None:
        """An agent that does not reply within 25 seconds is an error."""
        memory = MemoryReactorClock()
        asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
        transport = protocol.transport
        self.assertNoResult(asked)
        self.assertEqual(transport.value(), string(b"\x0b"))
        assert isinstance(memory, Clock)
        memory.advance(25)
        self.assertIn("timed out", str(self.failureResultOf(asked, ConfigurationError).value))
        protocol.dataReceived(string(b"\x0c\0\0\0\0"))
        protocol.connectionLost(Failure(ConnectionDone()))
