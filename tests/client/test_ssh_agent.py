"""A real ssh-agent, and agents that lie."""

import os
import subprocess
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
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from securechat.client import ssh_agent as agent
from securechat.client.ssh_agent import agent_keys, agent_sign
from securechat.errors import ConfigurationError
from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key

REACTOR = cast(agent.IAgentReactor, reactor)
DATA = keys.signed_data(b"securechat-v1-client", b"message")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


STRINGS = [USER_KEY.blob, USER_KEY.blob[:-1], string(b"ssh-ed25519") + string(USER_KEY.sign(DATA)), b"ssh-ed25519"]


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
        await self.assertRefused(f"{self.path}: No such file", agent_keys, REACTOR, self.environ)
        Path(self.path).write_bytes(b"")
        await self.assertRefused(f"{self.path}: Connection refused", agent_keys, REACTOR, self.environ)

    async def test_pathTooLong(self) -> None:
        """A path that no socket can have is an error at once."""
        environ = {"SSH_AUTH_SOCK": "/" + "\u00fc" * 54}
        await self.assertRefused("File name too long", agent_keys, REACTOR, environ)

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

    async def test_hangsUpInTheMiddle(self) -> None:
        """Half an answer is none."""
        whole = string(b"\x0c\0\0\0\0")

        class Quitter(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(whole[:-1])
                self.transport.loseConnection()

        port = cast(Any, reactor).listenUNIX(self.path, Factory.forProtocol(Quitter))
        self.addCleanup(port.stopListening)
        await self.assertRefused("without an answer", agent_keys, REACTOR, self.environ)


class SlowAgentTests(AgentTestCase):
    """An agent over memory, whose every byte and second the test decides."""

    def ask(self, memory: MemoryReactorClock, work: Any) -> tuple["Deferred[Any]", Any]:
        """What `work` will give, and its connection to the agent."""
        asked: Deferred[Any] = ensureDeferred(work)
        [(_path, factory, *_rest)] = memory.unixClients
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return asked, protocol

    def test_byteByByte(self) -> None:
        """An answer may come in pieces of any size, and what comes after it is ignored."""
        answer = string(b"\x0c\0\0\0\x01" + string(USER_KEY.blob) + string(b"mine"))
        for size in (1, 3, len(answer) + 9):
            memory = MemoryReactorClock()
            asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
            for position in range(0, len(answer), size):
                self.assertNoResult(asked)
                self.assertFalse(protocol.transport.disconnected)
                protocol.dataReceived((answer + b"more")[position : position + size])
            [found] = self.successResultOf(asked)
            self.assertEqual((found.blob, found.comment), (USER_KEY.blob, "mine"))

    def test_length(self) -> None:
        """The length is judged before anything of that length is kept: 256 KiB and no more."""
        for length, aborted in ((2**18, False), (2**18 + 1, True), (2**32 - 1, True), (0, True)):
            memory = MemoryReactorClock()
            _asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
            _asked.addErrback(lambda _failure: None)
            protocol.dataReceived(length.to_bytes(4, "big"))
            self.assertEqual(protocol.transport.disconnected, aborted)
            protocol.connectionLost(Failure(ConnectionDone()))

    def test_manyKeys(self) -> None:
        """An answer full of empty keys is read to its end and has none of ours."""
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
        """Whatever an agent says, it is an answer or a ConfigurationError."""
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
        """A socket that nobody accepts from is an error too."""
        memory = MemoryReactorClock()
        asked: Deferred[Any] = ensureDeferred(agent_keys(cast(Any, memory), self.environ))
        [(_path, factory, timeout, *_rest)] = memory.unixClients
        self.assertEqual(timeout, 25)
        factory.clientConnectionFailed(None, Failure(ConnectingTimedOut()))
        self.assertIn("timed out", str(self.failureResultOf(asked, ConfigurationError).value))

    def test_silence(self) -> None:
        """An agent that says nothing is given 25 seconds."""
        memory = MemoryReactorClock()
        asked, protocol = self.ask(memory, agent_keys(cast(Any, memory), self.environ))
        transport = protocol.transport
        self.assertNoResult(asked)
        self.assertEqual(transport.value(), string(b"\x0b"))
        assert isinstance(memory, Clock)
        memory.advance(25)
        self.assertIn("in time", str(self.failureResultOf(asked, ConfigurationError).value))
        protocol.dataReceived(string(b"\x0c\0\0\0\0"))
        protocol.connectionLost(Failure(ConnectionDone()))
