"""Ours and the independent implementation, over real sockets: they understand each other, and we refuse its faults."""

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.client.connecting import connect
from securechat.client.destination import Destination
from securechat.client.protocol import ChatClient
from securechat.client.signer import Signer
from securechat.conversation import Speaker, Turn
from securechat.errors import AuthenticationError, Category, RemoteProtocolError, SecureChatError
from securechat.robots.echo import EchoRobot
from securechat.robots.interface import IRobot
from securechat.server.factory import ChatServerFactory
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.ssh import keys
from securechat.ssh.keys import SigningKey
from securechat.wire.events import (
    Admitted,
    Event,
    GoodbyeReceived,
    HostKeyReceived,
    ReplyReceived,
    ResultReceived,
)
from securechat.wire.handshake import ServerIdentity
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import ClientAuth, Reason
from securechat.wire.shaping import Shaping
from securechat.wire.suites import SUITES
from tests.harness.certificates import CA, issue, raw, strings
from tests.harness.daemon import Talk
from tests.harness.pair import ABOUT, NAME, PQ, RSA, USER_KEY, Pair, rsa_key
from tests.independent import faults as table
from tests.independent.abort import AbortError
from tests.independent.certificates import Authority, extensions_of
from tests.independent.client import Client, ClientSettings
from tests.independent.conversation import Call
from tests.independent.decoder import decode
from tests.independent.fault_table import FAULTS
from tests.independent.faults import Environment, Fault, commit_client_fault, commit_server_fault
from tests.independent.items import DELTA, EVENT, PIECE, Result, pack_items
from tests.independent.pack import unpack
from tests.independent.records import GOODBYE, HOSTKEY, PAD, REPLY, SAY
from tests.independent.reference import ENVIRONMENT, Running
from tests.independent.server import Server
from tests.independent.server import ServerSettings as IndependentSettings

reactor: Any = installed

HOST_KEY = SigningKey(ENVIRONMENT.host_key)
ALICE = SigningKey(ENVIRONMENT.user_key)
MANY = 10**6
PATIENT = ServerSettings(
    names=(ENVIRONMENT.name,),
    shaping=Shaping.OFF,
    tick=0.01,  # seconds: trains of half a second
    max_sessions=MANY,
    max_sessions_per_source=MANY,
    max_handshakes=MANY,
    max_handshakes_per_source=MANY,
    handshake_rate=MANY,
    handshake_burst=MANY,
    message_burst=MANY,
)
QUICK = replace(PATIENT, hello_timeout=0.5, proof_timeout=0.5)


CASES = {  # faults of each role in each suite
    ("client", "mlkem768x25519-chacha20poly1305"): 404,
    ("client", "rsa2048-fernet"): 410,
    ("server", "mlkem768x25519-chacha20poly1305"): 388,
    ("server", "rsa2048-fernet"): 391,
}


class CountingRobot(EchoRobot):
    """An echo that counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.turns: list[int] = []  # in each conversation

    def reply(self, conversation: Any) -> Any:
        self.asked += 1
        self.turns.append(len(conversation.turns))
        return super().reply(conversation)


class InteropTestCase(TestCase):
    """Servers of ours on real ports, and what they logged."""

    timeout = 240

    def setUp(self) -> None:
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_format") and event["log_namespace"].startswith("securechat"):
            self.lines.append(event["log_format"].format(**event))

    def listen(
        self,
        *,
        suites: Any = SUITES,
        client_auth: ClientAuth = ClientAuth.OPTIONAL,
        settings: ServerSettings = PATIENT,
        only: bytes | None = None,
    ) -> tuple[ChatServerFactory, int, CountingRobot]:
        robot = CountingRobot()
        identity = ServerIdentity(HOST_KEY, suites, client_auth, lambda blob, certificate: only is None or blob == only)
        factory = ChatServerFactory(settings, identity, Anyone(), cast(IRobot, robot), reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return factory, port.getHost().port, robot

    def listener(self) -> socket.socket:
        """A listening socket for their server; a thread that accepts must not wait for ever."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        self.addCleanup(listener.close)
        return listener


class UnderstandingTests(InteropTestCase):
    """Two suites, anonymous and with a key, both roles."""

    async def test_theirClient(self) -> None:
        """Their client talks to our server: short messages, long ones, many, and leaves."""
        factory, port, _robot = self.listen()

        def talk(suite: str, user_key: Any) -> list[object]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, suite, user_key))
                client.handshake()
                heard: list[object] = [client.about]
                for text in ("你好", "", "长" * 10_000, *map(str, range(20))):
                    client.say(text)
                    heard.append(client.wait_for_reply() == text)
                client.leave()
                return heard

        for suite in SUITES:
            for user_key, user in ((None, ""), (ENVIRONMENT.user_key, keys.fingerprint(ALICE.blob))):
                robot, *echoed = await deferToThread(talk, suite.decode(), user_key)
                self.assertEqual(cast(Any, robot)[:2], (user, "echo"))
                self.assertEqual(echoed, [True] * 23)
        while factory.sessions:
            await deferLater(reactor, 0.02)

    async def test_about(self) -> None:
        """Their client is told our server's settings, and each tick of a train has its records."""
        settings = replace(PATIENT, shaping=Shaping.REPLY, width=3, max_message=4096, max_buffered=8 * 4096)
        factory, port, _robot = self.listen(settings=settings)

        def talk() -> tuple[object, list[object], int]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, PQ.name.decode(), None))
                client.handshake()
                client.say("x" * 4096)
                before = len(client.trace.records)
                replies: list[object] = [client.wait_for_reply()]
                while len(client.trace.records) < before + 3 * 50:
                    client.receive()
                client.deadline = time.monotonic() + 0.5
                try:
                    client.receive()
                except AbortError as silence:
                    replies.append(silence.category)
                return client.about, replies, len(client.trace.records) - before

        about, replies, records = await deferToThread(talk)
        self.assertEqual(cast(Any, about)[3:], (4096, False, 1, 10, 3))
        self.assertEqual((replies, records), (["x" * 4096, "timeout"], 150))
        while factory.sessions:
            await deferLater(reactor, 0.02)

    async def test_refusals(self) -> None:
        """Their client hears of messages that our server has no place or no memory for, each in its turn."""
        settings = replace(PATIENT, max_message=4096, max_buffered=8 * 4096)
        factory, port, robot = self.listen(settings=settings)

        def talk(texts: list[str]) -> list[object]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, PQ.name.decode(), None))
                client.handshake()
                bursts = client.burst_of(*texts)
                sock.sendall(bursts)
                heard: list[object] = [client.wait_for_reply() for _text in texts]
                client.leave()
                return heard

        small = [str(number) for number in range(8)]
        self.assertEqual(await deferToThread(talk, small), [*small[:5], 8, 8, 8])
        large = ["a" * 4000, "b" * 100, "c" * 96]
        self.assertEqual(await deferToThread(talk, large), [large[0], 6, large[2]])
        self.assertEqual(robot.asked, 7)
        while factory.sessions:
            await deferLater(reactor, 0.02)

    async def test_limit(self) -> None:
        """Their client reads which limit it has reached, to whose FAULT it gives no meaning, and goes on."""
        factory, port, robot = self.listen(settings=replace(PATIENT, messages_per_day=1, calls_per_day=1, api=True))

        def talk() -> tuple[list[object], str]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, PQ.name.decode(), None))
                client.handshake()
                heard: list[object] = []
                for _number in range(3):
                    client.say("a")
                    heard.append(client.wait_for_reply())
                payloads = [unpack(record.payload) for record in client.trace.records if record.kind == REPLY]
                texts = [chunk.decode() for number, _last, chunk in cast(Any, payloads) if number == 2]
                for _number in range(2):
                    client.call("chat/completions", b'{"messages": [{"role": "user", "content": "b"}]}')
                    heard.append(cast(Result, client.wait_for_reply()).status)
                client.leave()
                return heard, "".join(texts)

        heard, text = await deferToThread(talk)
        self.assertEqual(heard, ["a", 12, 12, 200, 429])
        self.assertRegex(text, r"\A\[You have reached your limit of 1 message.*\]\n\Z")
        self.assertEqual(robot.asked, 2)
        while factory.sessions:
            await deferLater(reactor, 0.02)

    async def test_calls(self) -> None:
        """Their client's requests are refused by our server in their turn, and the turns that it recalls are used."""
        factory, port, robot = self.listen()

        def talk() -> list[object]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, PQ.name.decode(), None))
                client.handshake()
                heard: list[object] = []
                client.call("chat/completions", b"{" * 100_000)
                client.say("a")
                client.call("models")
                heard += [client.wait_for_reply() for _ in range(3)]
                client.say("b", [(0, "x" * 5000), (1, "y")])
                heard.append(client.wait_for_reply())
                client.leave()
                return heard

        self.assertEqual(await deferToThread(talk), [11, "a", 11, "b"])
        self.assertEqual(robot.turns, [1, 3])
        while factory.sessions:
            await deferLater(reactor, 0.02)

    async def test_results(self) -> None:
        """Their client reads our server's results in both suites, between replies, at once and at ticks."""
        settings = replace(PATIENT, api=True, shaping=Shaping.REPLY, max_reply=20_000)
        text = "长" * 3000

        def request(text: str, **more: Any) -> bytes:
            return json.dumps({"messages": [{"role": "user", "content": text}], **more}).encode()

        def talk(port: int, suite: str) -> list[object]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, suite, ENVIRONMENT.user_key))
                client.handshake()
                client.call("models/echo")
                client.call("chat/completions", request(text))
                client.say("a")
                client.call("chat/completions", request(text, stream=True))
                client.call("nowhere")
                heard: list[object] = [client.about.api, *(client.wait_for_reply() for _ in range(5))]
                for body in (b"{", request("x" * 30_000, stream=True)):
                    client.call("chat/completions", body)
                    heard.append(client.wait_for_reply())
                client.leave()
                return heard

        for shaping in (Shaping.OFF, Shaping.REPLY):
            factory, port, robot = self.listen(settings=replace(settings, shaping=shaping))
            for suite in SUITES:
                robot.turns.clear()
                api, model, whole, reply, stream, *rest = await deferToThread(talk, port, suite.decode())
                self.assertEqual((api, reply), (True, "a"))
                assert isinstance(model, Result)
                self.assertEqual((model.status, json.loads(model.body)["id"]), (200, "echo"))
                assert isinstance(whole, Result)
                self.assertEqual(json.loads(whole.body)["choices"][0]["message"]["content"], text)
                assert isinstance(stream, Result)
                self.assertEqual((stream.content_type, stream.events[-1]), ("text/event-stream", ("", b"[DONE]")))
                chunks = [json.loads(data)["choices"][0]["delta"] for _name, data in stream.events[:-1]]
                self.assertEqual("".join(chunk.get("content", "") for chunk in chunks), text)
                not_found, bad, too_long = rest
                self.assertEqual((not_found, too_long), (10, 3))
                assert isinstance(bad, Result)
                self.assertEqual((bad.status, list(json.loads(bad.body))), (400, ["error"]))
                self.assertEqual(robot.turns, [1] * 4)
            while factory.sessions:
                await deferLater(reactor, 0.02)

    async def test_theirServer(self) -> None:
        """Our client talks to their server."""

        def serve(listener: socket.socket, name: str) -> None:
            sock, _address = listener.accept()
            with sock:
                authorized = {ALICE.blob: "alice"}
                server = Server(sock, IndependentSettings(ENVIRONMENT.host_key, frozenset({name}), authorized))
                server.handshake()
                server.serve(str.upper)

        for suite in SUITES:
            for signer, user in ((None, ""), (Signer(ALICE.blob, ALICE.sign), "alice")):
                listener = self.listener()
                port = listener.getsockname()[1]
                serving = deferToThread(serve, listener, f"[127.0.0.1]:{port}")
                talk = await Talk().start(port, suite=suite, signer=signer)
                assert talk.about is not None
                self.assertEqual((talk.about.user, talk.about.software), (user, "independent"))
                for text in ("hello", "", "x" * 32_768):
                    self.assertEqual(await talk.ask(text), text.upper())
                await talk.leave()
                await serving

    async def test_theirResults(self) -> None:
        """Our client's requests reach their server, and its results come back item by item."""
        stream = pack_items(200, "text/event-stream", (EVENT, "x", b"a" * 2000), (DELTA, 1000, 999, b"b"))
        whole = pack_items(429, "application/json", (PIECE, b"c" * 600), (PIECE, b""))
        contents: list[Call] = []

        def api(call: Call) -> bytes:
            contents.append(call)
            return stream if call.body else whole

        def serve(listener: socket.socket, name: str) -> None:
            sock, _address = listener.accept()
            with sock:
                server = Server(sock, IndependentSettings(ENVIRONMENT.host_key, frozenset({name}), api=True))
                server.handshake()
                server.serve(str.upper, api)

        class Caller(Talk):
            def __init__(self) -> None:
                super().__init__()
                self.items: list[object] = []
                self.done: Deferred[None] = Deferred()

            def resultReceived(self, message_id: int, items: list[Any], last: bool) -> None:
                self.items += items
                if last:
                    self.done.callback(None)

        for suite in SUITES:
            contents.clear()
            listener = self.listener()
            port = listener.getsockname()[1]
            serving = deferToThread(serve, listener, f"[127.0.0.1]:{port}")
            caller = Caller()
            await caller.start(port, suite=suite)
            caller.client.call("responses", b"z" * 3000)
            await caller.done
            caller.done = Deferred()
            self.assertEqual(await caller.ask("hello"), "HELLO")
            caller.client.call("models/a/b", b"")
            await caller.done
            self.assertEqual(contents, [Call("responses", b"z" * 3000), Call("models/a/b", b"")])
            events = [ServerEvent("x", b"a" * 2000), ServerEvent("x", b"a" * 1000 + b"b" + b"a" * 999)]
            head = Head(429, "application/json")
            self.assertEqual(
                caller.items, [Head(200, "text/event-stream"), *events, head, Piece(b"c" * 600), Piece(b"")]
            )
            await caller.leave()
            await serving


class DecoderTests(SynchronousTestCase):
    """A captured session, read by a decoder that was written from the specification alone."""

    def test_everyRecord(self) -> None:
        """Every frame of both directions decodes to what was said, in both suites, with a key and without, rekeyed."""
        for suite in (PQ, RSA):
            for user_key in (None, USER_KEY):
                self.check(Pair(suite, user_key=user_key, about=replace(ABOUT, api=True)))

    def check(self, pair: Pair) -> None:
        up = down = b""

        def carry() -> None:
            nonlocal up, down
            while True:
                there = pair.client.data_to_send()
                pair.to_server(there)
                back = pair.server.data_to_send()
                pair.to_client(back)
                up += there
                down += back
                if not there and not back:
                    return

        secret = pair.server_handshake._secret
        carry()
        long = "长" * 4000
        for text in ("你好", long):
            message_id = pair.client.say(text)
            carry()
            pair.clock.advance(901)
            pair.server.reply(message_id, text.encode()[:480], False)
            pair.server.reply(message_id, b"!", True)
            carry()
        pair.client.call("models/a", b"b" * 600)
        carry()
        pair.server.result(3, pack_items(200, "a/b", (PIECE, b"body")), True)
        carry()
        pair.client.say("", [Turn(Speaker.ROBOT, long)])
        pair.client.goodbye(Reason.LEAVING, 2)
        carry()
        session = decode(up, down, secret)
        self.assertEqual(session.about(), ("", "echo", "test", 64 * 1024, True, 1, 100, 1))
        self.assertEqual(session.said(), ["你好", long, Call("models/a", b"b" * 600), [(1, long)], ""])
        result = Result(200, "a/b", 0, b"body", [])
        self.assertEqual(session.replied(), ["你好!", long[:160] + "!", result])
        self.assertEqual(session.client_proof.name, "[localhost]:8080")
        self.assertEqual(session.client_proof.user_key, pair.user_key.blob if pair.user_key else b"")
        kinds = [record.kind for record in session.client_records]
        self.assertEqual(kinds.count(SAY), 2 + -(-len(long.encode()) // 499))
        self.assertGreater(kinds.count(PAD), 0)
        self.assertEqual(kinds[-1], GOODBYE)
        self.assertEqual([record.kind for record in session.server_records].count(REPLY), 4)


class CallTests(SynchronousTestCase):
    """Our client's end of a connection, without a reactor, and their server."""

    def test_results(self) -> None:
        """Their server's results arrive, with items in records of any size, and ours is what it received."""
        stream = pack_items(200, "text/event-stream", (EVENT, "", b"x" * 2000), (DELTA, 1000, 1000, b"y"))
        contents: list[object] = []

        def api(call: Call) -> bytes:
            contents.append(call)
            return stream

        near, far = socket.socketpair()
        pair = Pair(PQ)
        settings = IndependentSettings(ENVIRONMENT.host_key, frozenset({NAME}), api=True)
        server = Server(far, settings)

        def serve() -> None:
            server.handshake()
            server.serve(str.upper, api)

        running = Running(far, serve)
        with near:

            def exchange_until(is_last: Callable[[Event], bool]) -> list[Event]:
                """Carry bytes until this event has come; all that came."""
                near.sendall(pair.client.data_to_send())
                events: list[Event] = []
                while not any(map(is_last, events)):
                    events += pair.to_client(near.recv(65536))
                    near.sendall(pair.client.data_to_send())
                return events

            exchange_until(lambda event: isinstance(event, Admitted))
            pair.client.call("responses", b"z" * 3000)
            results = exchange_until(lambda event: isinstance(event, ResultReceived) and event.last)
            pair.client.say("hello", [Turn(Speaker.USER, "x" * 3000)])
            exchange_until(lambda event: isinstance(event, ReplyReceived) and event.last)
            pair.client.goodbye(Reason.LEAVING, 2)
            exchange_until(lambda event: isinstance(event, GoodbyeReceived))
        self.assertIsNone(running.end())
        self.assertEqual(contents, [Call("responses", b"z" * 3000)])
        events = [ServerEvent("", b"x" * 2000), ServerEvent("", b"x" * 1000 + b"y" + b"x" * 1000)]
        items = [item for result in results if isinstance(result, ResultReceived) for item in result.items]
        self.assertEqual(items, [Head(200, "text/event-stream"), *events])


class CertificateTests(InteropTestCase):
    """Users with certificates, in both roles."""

    async def test_theirClient(self) -> None:
        """Our server admits their client by a certificate, with default extensions, others and none."""
        authority = Authority(cast(Any, CA)._key)
        path = Path(self.mktemp())
        path.write_text(f'cert-authority,principals="chat" {keys.public_line(CA.blob)}\n')
        path.chmod(0o600)
        users = AuthorizedUsers(path)
        identity = ServerIdentity(HOST_KEY, SUITES, users.client_auth, users.is_authorized)
        factory = ChatServerFactory(PATIENT, identity, users, cast(IRobot, EchoRobot()), reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)

        def talk(settings: ClientSettings) -> str:
            with socket.create_connection(("127.0.0.1", port.getHost().port)) as sock:
                client = Client(sock, settings)
                client.handshake()
                client.say("hello")
                client.wait_for_reply()
                client.leave()
                return client.about.user

        settings = ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, user_key=ENVIRONMENT.user_key)
        for extensions in (b"", extensions_of(31), extensions_of(8), strings(b"x@example.org", b"data")):
            shown = authority.issue(ENVIRONMENT.user_key, b"chat", extensions=extensions)
            for suite in SUITES:
                with_certificate = dataclass_replace(settings, suite=suite.decode(), certificate=shown)
                self.assertEqual(await deferToThread(talk, with_certificate), "alice@laptop")
        while factory.sessions:
            await deferLater(reactor, 0.02)

    def test_ourClient(self) -> None:
        """Their server admits our client by a certificate, and refuses one of an authority that it does not know."""
        settings = IndependentSettings(
            ENVIRONMENT.host_key, frozenset({NAME}), authorities={raw(CA): {b"chat": "alice"}}
        )
        other = SigningKey.generate()
        for ca, category in ((CA, None), (other, "user-key")):
            near, far = socket.socketpair()
            pair = Pair(PQ, user_key=ALICE, credential=issue(ALICE, b"chat", ca=ca))
            server = Server(far, settings)
            running = Running(far, server.handshake)
            with near:
                near.sendall(pair.client.data_to_send())
                while data := near.recv(65536):
                    pair.to_client(data)
                    if up := pair.client.data_to_send():
                        near.sendall(up)
            self.assertEqual(running.end(), category)
            names = [event.user for event in pair.client_events if isinstance(event, Admitted)]
            self.assertEqual(names, [] if category else ["alice"])


class HostKeyTests(InteropTestCase):
    """Servers that announce their next host key, in both roles."""

    async def test_theirClient(self) -> None:
        """Their client asks our server for it, once, and not if it knows it, or if it knows nothing of this."""
        successor = SigningKey.generate()
        factory, port, _robot = self.listen()
        factory.identity = dataclass_replace(factory.identity, next_host_key=successor)

        def talk(settings: ClientSettings) -> tuple[bytes, int]:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                client = Client(sock, settings)
                client.handshake()
                for text in ("hello", "again"):
                    client.say(text)
                    self.assertEqual(client.wait_for_reply(), text)
                client.leave()
                return client.learned, len([record for record in client.trace.records if record.kind == HOSTKEY])

        settings = ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, user_key=ENVIRONMENT.user_key)
        for changes, found in (
            ({}, (successor.blob, 2)),
            ({"suite": RSA.name.decode()}, (successor.blob, 2)),
            ({"next_host_key": successor.blob}, (b"", 0)),
            ({"asks_host_key": False}, (b"", 0)),
        ):
            self.assertEqual(await deferToThread(talk, dataclass_replace(settings, **changes)), found)
        while factory.sessions:
            await deferLater(reactor, 0.02)

    def test_ourClient(self) -> None:
        """Our client asks their server for it, and verifies it."""
        successor = SigningKey.generate()
        settings = IndependentSettings(ENVIRONMENT.host_key, frozenset({NAME}), next_host_key=cast(Any, successor)._key)
        near, far = socket.socketpair()
        pair = Pair(PQ)
        server = Server(far, settings)

        def serve() -> None:
            server.handshake()
            server.serve(str.upper)

        running = Running(far, serve)
        with near:
            near.sendall(pair.client.data_to_send())
            while data := near.recv(65536):
                for event in pair.to_client(data):
                    if isinstance(event, Admitted):
                        pair.client.ask_host_key()
                        pair.client.say("hello")
                    if isinstance(event, ReplyReceived):
                        pair.client.goodbye(Reason.LEAVING, 1)
                if up := pair.client.data_to_send():
                    near.sendall(up)
                if pair.client.goodbye_sent and isinstance(pair.client_events[-1], GoodbyeReceived):
                    near.shutdown(socket.SHUT_WR)
        self.assertIsNone(running.end())
        self.assertIn(HostKeyReceived(HOST_KEY.blob, successor.blob), pair.client_events)


class FaultTests(InteropTestCase):
    """The independent implementation's bug switches, each thrown against ours."""

    def chosen(self, role: str, suite: str) -> list[Fault]:
        """The faults of a role in a suite; the documentation states how many there are."""
        chosen = [fault for fault in FAULTS.values() if fault.role == role and suite in fault.suites]
        self.assertEqual(len(chosen), CASES[role, suite])
        return chosen

    def test_documented(self) -> None:
        """docs/evidence.md states how many faults and cases there are."""
        text = (Path(__file__).parents[1] / "docs/evidence.md").read_text("utf-8")
        found = re.findall(r"([\d,]+) named faults, ([\d,]+) cases", text)
        self.assertEqual(found, [(f"{len(FAULTS):,}", f"{sum(CASES.values()):,}")])

    def assertCategory(self, fault: Fault, found: str | None) -> None:
        """The category in which ours ends, which is the reference's although the specification may allow others."""
        if not (fault.unseen and found is None):
            self.assertEqual(found, fault.category, fault.name)

    async def client_faults(self, suite: str, shaping: Shaping) -> None:
        """For each: nothing comes back, the category is logged, the robot is not asked, and the server goes on."""
        others = {name: known for name, known in SUITES.items() if name.decode() != suite}
        patient = replace(PATIENT, shaping=shaping, max_message=16_384)
        servers = {
            "": self.listen(settings=patient, only=ALICE.blob),
            "slow": self.listen(settings=replace(QUICK, shaping=shaping), only=ALICE.blob),
            table.OTHER_SUITE_ONLY: self.listen(settings=patient, suites=others),
            table.CLIENT_KEY_REQUIRED: self.listen(settings=patient, client_auth=ClientAuth.REQUIRED, only=ALICE.blob),
        }
        for fault in self.chosen("client", suite):
            factory, port, robot = servers[fault.setting or ("slow" if fault.slow else "")]
            self.lines.clear()
            asked = robot.asked

            def commit(fault: Fault = fault, port: int = port) -> bytes:
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    return commit_client_fault(fault, sock, suite, ENVIRONMENT)

            rest = await deferToThread(commit)
            while factory.sessions:
                await deferLater(reactor, 0.002)
            if not fault.answered:
                self.assertEqual(rest, b"", fault.name)
                self.assertEqual(robot.asked, asked, fault.name)
            ends = [line for line in self.lines if "aborted" in line or "ended" in line]
            self.assertEqual(len(ends), 1, (fault.name, self.lines))
            found = ends[0].partition("(")[2].partition(")")[0]
            self.assertCategory(fault, None if found == "leaving" else found)
        factory, port, robot = servers[""]
        with socket.create_connection(("127.0.0.1", port)) as sock:
            client = Client(sock, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, suite, ENVIRONMENT.user_key))
            await deferToThread(client.handshake)
        while factory.sessions:
            await deferLater(reactor, 0.002)

    async def server_faults(self, suite: str) -> None:
        """For each: our client sends nothing more, and its user hears the category."""
        key = rsa_key()
        self.patch(RSA, "generate_key", lambda: key)
        for fault in self.chosen("server", suite):
            listener = self.listener()
            port = listener.getsockname()[1]
            environment = Environment(f"[127.0.0.1]:{port}", ENVIRONMENT.host_key, ENVIRONMENT.user_key)

            def commit(
                fault: Fault = fault, listener: socket.socket = listener, here: Environment = environment
            ) -> bytes:
                sock, _address = listener.accept()
                with sock:
                    return commit_server_fault(fault, sock, suite, here)

            committing = deferToThread(commit)
            end = await self.run_client(fault, port, suite)
            rest = await committing
            if not fault.answered:
                self.assertEqual(rest, b"", fault.name)
            self.assertCategory(fault, end.category.value if isinstance(end, RemoteProtocolError) else None)

    async def run_client(self, fault: Fault, port: int, suite: str) -> SecureChatError | GoodbyeReceived | None:
        known = None if fault.setting == table.HOST_KEY_UNKNOWN else HOST_KEY.blob

        def check_host_key(blob: bytes) -> None:
            if blob != known or fault.setting == table.HOST_KEY_REVOKED:
                raise AuthenticationError(Category.HOST_KEY)

        class Speaker(Talk):
            def admitted(self, client: ChatClient, about: Admitted) -> None:
                for _ in range(fault.says):
                    client.say("hello")
                for _ in range(fault.calls):
                    client.call("models", b"")

            def resultReceived(self, message_id: int, items: list[Any], last: bool) -> None:
                """Some faults come after valid items."""

        talk = Speaker()
        signer = Signer(ALICE.blob, ALICE.sign)
        talk._in.addErrback(lambda failure: None)
        destination = Destination("127.0.0.1", port)
        await connect(
            reactor, destination, suite=suite.encode(), check_host_key=check_host_key, signer=signer, user=talk
        )
        return await talk.end

    async def test_theirClientPq(self) -> None:
        """A client's faults, suite PQ, the replies in trains."""
        await self.client_faults(PQ.name.decode(), Shaping.REPLY)

    async def test_theirClientRsa(self) -> None:
        """A client's faults, suite RSA, the replies as they come."""
        await self.client_faults(RSA.name.decode(), Shaping.OFF)

    async def test_theirServerPq(self) -> None:
        """A server's faults, suite PQ."""
        await self.server_faults(PQ.name.decode())

    async def test_theirServerRsa(self) -> None:
        """A server's faults, suite RSA."""
        await self.server_faults(RSA.name.decode())

    async def test_tooMany(self) -> None:
        """Clients over each limit are closed without a byte, and logged; the one that had its place goes on."""
        for settings, handshake_first in (
            (replace(PATIENT, max_sessions=1), True),
            (replace(PATIENT, max_sessions_per_source=1), True),
            (replace(PATIENT, max_handshakes_per_source=1), False),
            (replace(PATIENT, handshake_burst=1, handshake_rate=0.001), False),
        ):
            factory, port, _robot = self.listen(settings=settings)
            with socket.create_connection(("127.0.0.1", port)) as first:
                client = Client(first, ClientSettings(ENVIRONMENT.name, HOST_KEY.blob, PQ.name.decode(), None))
                if handshake_first:
                    await deferToThread(client.handshake)
                while not factory.sessions:
                    await deferLater(reactor, 0.002)
                self.lines.clear()
                with socket.create_connection(("127.0.0.1", port)) as second:
                    second.settimeout(10)
                    self.assertEqual(await deferToThread(second.recv, 1), b"")
                self.assertTrue(any("refused (limit)" in line for line in self.lines))
                if not handshake_first:
                    await deferToThread(client.handshake)
            while factory.sessions:
                await deferLater(reactor, 0.002)
