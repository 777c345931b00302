"""No secret and no word of a conversation shows: not in the log, at any level, nor in an exception or a repr."""

import gc
import json
from base64 import b64encode
from itertools import count, product
from pathlib import Path
from socket import create_connection, socket
from typing import Any, cast
from unittest import TestLoader, TestResult

from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.requests import ApiCall
from securechat.client.api.exchange import Exchange
from securechat.conversation import Conversation
from securechat.errors import Fault, RobotError
from securechat.wire.items import ServerEvent
from securechat.wire.shaping import Shaping
from tests.client import test_protocol as test_client_protocol
from tests.client.api import test_serve
from tests.harness import pair
from tests.harness.local_api import JSON_HEADERS, request_bytes
from tests.harness.robot import ApiPuppet, PuppetRobot
from tests.harness.secret_search import Notebook
from tests.harness.ssh import make_key
from tests.server import test_api
from tests.server import test_protocol as test_server
from tests.wire import test_connection
from tests.wire import test_handshake as test_keyexchange

SUITES = (test_connection, test_keyexchange, test_server, test_client_protocol)
SHORT = 4  # characters: a prompt that is shorter stands in other text by chance


class SecretTests(SynchronousTestCase):
    """The tests of sessions, run once more by someone who notes every secret and reads everything that is said."""

    def test_nothingShows(self) -> None:
        """Keys, secrets and messages of hundreds of sessions, searched in all that was logged, raised and shown."""
        notebook = Notebook()
        notebook.open(self.patch)
        result = TestResult()
        for module in SUITES:
            for test in TestLoader().loadTestsFromModule(module):
                for case in cast(Any, test):
                    # Not the one that asks for the text to be logged, nor those that hypothesis runs, once a process.
                    if not any(name in case.id() for name in ("logsText", "anyBytes")):
                        case.run(result)
        notebook.close()
        self.assertEqual([(case.id(), trace[-800:]) for case, trace in result.failures + result.errors], [])
        self.assertGreater(result.testsRun, 150)
        self.assertGreater(len(notebook.secrets), 1000)
        self.assertTrue(any(len(prompt) >= SHORT for prompt in notebook.prompts))
        self.assertEqual(notebook.found(shortest=SHORT), [])


class ConversationTests(test_server.ServerTestCase):
    """Sessions that are still in progress when everything is searched."""

    def test_nothingShows(self) -> None:
        """No message, and no word of a reply, shows while it is sent, waits, is answered, or fails."""
        notebook = Notebook()
        notebook.open(self.patch)
        words = map("zq{:03}".format, count())  # short, and in nothing else
        said: list[str] = []

        def new_word() -> str:
            said.append(next(words))
            return said[-1]

        for shaping in Shaping:
            for suffix in ("answering", "answered", "failed", "bug", "cancelled", "waiting", "incomplete", "refused"):
                robot = PuppetRobot()
                self.factory = self.make_factory(robot=robot, shaping=shaping, message_burst=3)
                session = test_server.Session(self.factory, user_key=pair.USER_KEY).open()
                session.say(new_word())
                robot.say(new_word())
                match suffix:
                    case "answered":
                        robot.end()
                    case "failed":
                        robot.fail(RobotError(Fault.BUSY, "test"))
                    case "bug":
                        robot.fail(ValueError("test"))
                    case "cancelled":
                        session.client.cancel(1)
                    case "waiting":
                        session.say(new_word())
                    case "incomplete":
                        session.client.say(new_word() * 500)
                        session.server.dataReceived(session.client.data_to_send()[:-100])
                    case "refused":
                        for _ in range(4):
                            session.say(new_word())
                session.pump()
                self.addCleanup(session.lose)
        notebook.close()
        self.assertTrue(any(isinstance(thing, Conversation) for thing in gc.get_objects()))
        notebook.prompts.update(said)
        self.assertGreater(len(said), 60)
        self.assertGreater(len(notebook.said), 60)
        self.assertEqual(notebook.found(shortest=1), [])


class CallTests(test_api.ApiTestCase):
    """Sessions with API requests that are still in progress when everything is searched."""

    def test_nothingShows(self) -> None:
        """No word of a request or a response shows while it waits, is answered, refused, or fails."""
        notebook = Notebook()
        notebook.open(self.patch)
        words = map("zr{:03}".format, count())
        said: list[str] = []

        def new_word() -> str:
            said.append(next(words))
            return said[-1]

        def request() -> bytes:
            return f'{{"model": "{new_word()}", "{new_word()}": ["{new_word()}"]}}'.encode()

        sessions = []
        for shaping in Shaping:
            for suffix in (
                "answering",
                "answered",
                "failed",
                "bug",
                "broken",
                "cancelled",
                "waiting",
                "refused",
                "bad",
            ):
                self.robot = ApiPuppet(models=frozenset({"m"}) if suffix == "refused" else None)
                self.factory = self.make_factory(shaping=shaping)
                session = test_server.Session(self.factory, user_key=pair.USER_KEY).open()
                sessions.append(session)
                self.call(session, body=request() + b"}" * (suffix == "bad"))
                if suffix not in ("refused", "bad"):
                    self.robot.give(test_api.STREAM, test_api.event(new_word()))
                match suffix:
                    case "answered":
                        self.robot.end()
                    case "failed":
                        self.robot.fail(RobotError(Fault.BUSY, "test"))
                    case "bug":
                        self.robot.fail(ValueError("test"))
                    case "broken":
                        self.robot.give(ServerEvent("\n", new_word().encode()))
                    case "cancelled":
                        session.client.cancel(1)
                    case "waiting":
                        self.call(session, body=request())
                session.pump()
                self.addCleanup(session.lose)
        notebook.close()
        self.assertTrue(any(isinstance(thing, ApiCall) for thing in gc.get_objects()))
        notebook.prompts.update(said)
        self.assertGreater(len(said), 80)
        self.assertEqual(notebook.found(shortest=1), [])


class ServeTests(test_serve.ServeTestCase):
    """A client that serves its API, with requests in progress when everything is searched."""

    key = "sc-zk0123456789"

    def setUp(self) -> None:
        super().setUp()
        self.key_file.write_text(self.key)
        self.tools: list[socket] = []

    def connect_and_send(self, data: bytes, *, is_answered: bool) -> None:
        """What a tool does; the connection stays open until the end of the test."""
        tool = create_connection((self.address.host, self.address.port), test_serve.LIMIT)
        self.addCleanup(tool.close)
        self.tools.append(tool)
        tool.sendall(data)
        if is_answered:
            self.assertTrue(tool.recv(65_536).startswith(b"HTTP/1.1 "))

    async def test_nothingShows(self) -> None:
        """Neither keys nor any word of a request or a response show while it runs, is refused, fails or breaks."""
        notebook = Notebook()
        notebook.open(self.patch)
        words = map("zs{:03}".format, count())
        said = [self.key, "sc-zkwrong"]

        def new_word() -> str:
            said.append(next(words))
            return said[-1]

        await self.start(identity=make_key(Path(self.mktemp())))
        for path, how in product(
            ("/v1/chat/completions", "/api/chat"),
            ("running", "answered", "not valid", "failed", "broken", "cancelled", "wrong key", "no JSON", "bad head"),
        ):
            message = {"role": "user", "content": new_word()}
            body = json.dumps({"model": new_word(), "messages": [message], "stream": True, new_word(): 1}).encode()
            data = request_bytes(
                f"POST {path}?{new_word()} HTTP/1.1" + " x" * (how == "bad head"),
                f"{JSON_HEADERS}Content-Length: {len(body)}\r\nX-{new_word()}: {new_word()}\r\n",
                b"[" * len(body) if how == "no JSON" else body,
                key="sc-zkwrong" if how == "wrong key" else self.key,
            )
            is_answered = how in ("wrong key", "bad head") or (how == "no JSON" and path == "/api/chat")
            await deferToThread(self.connect_and_send, data, is_answered=is_answered)
            if is_answered:
                continue
            call = await self.server.next_call()
            call.send(test_api.STREAM, test_api.event(new_word()))
            match how:
                case "answered":
                    call.send(test_api.event(new_word()), test_api.DONE, last=True)
                case "not valid" | "no JSON":
                    call.send(ServerEvent("", f"{{{new_word()}".encode()), last=True)
                case "failed":
                    call.session.connection.fault(call.id, Fault.BUSY)
                    call.session.flush()
                case "broken":
                    call.session.transport.abortConnection()
                case "cancelled":
                    self.tools.pop().close()
                    while not call.session.cancelled:
                        await self.wait()
                    call.session.connection.fault(call.id, Fault.CANCELLED)
                    call.session.flush()
        for _turn in range(10):
            await self.wait()
        notebook.close()
        self.assertTrue(any(isinstance(thing, Exchange) for thing in gc.get_objects()))
        self.assertIn(self.key, self.output.getvalue())  # for the user to copy; and nowhere else
        notebook.said.add(self.errors.getvalue())
        notebook.prompts.update(said)
        self.assertGreater(len(said), 90)
        self.assertGreater(len(notebook.secrets), 10)
        self.assertEqual(notebook.found(shortest=1), [])


class SearchTests(SynchronousTestCase):
    """Who searches would find."""

    def test_everyForm(self) -> None:
        """A secret is found in hex, base64 and as Python shows bytes, also in the middle of something."""
        secret = bytes(range(200, 232))
        for shown in (secret.hex(), b64encode(secret).decode(), repr(secret), repr(b"x" + secret + b"'y")):
            notebook = Notebook()
            notebook.secrets.add(secret)
            notebook.said.add(f"at last: {shown}!")
            self.assertEqual(notebook.found(shortest=1), [secret.hex()])

    def test_privateKeys(self) -> None:
        """A private key in OpenSSH's format is found, whose ever it is."""
        notebook = Notebook()
        notebook.said.add(pair.HOST_KEY.private_bytes().decode())
        self.assertEqual(len(notebook.found(shortest=1)), 1)

    def test_everyPlace(self) -> None:
        """What is logged or raised is read."""
        notebook = Notebook()
        notebook.open(self.patch)
        notebook.prompts |= {"in the log", "in an error", "nowhere"}
        Logger().debug("this is {what}", what="in the log")
        Failure(ValueError("in an error"))
        notebook.close()
        self.assertEqual(sorted(notebook.found(shortest=1)), ["in an error", "in the log"])
