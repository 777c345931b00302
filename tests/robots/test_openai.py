"""The robot for OpenAI-compatible servers against one that speaks as they do, over real sockets."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots.guard import GuardedRobot
from securechat.robots.http import endpoint as connecting
from securechat.robots.interface import IRobot
from securechat.robots.openai import messages as completions
from securechat.robots.openai import robot as module
from securechat.robots.openai.errors import MAX_RETRY_AFTER, error_in, retry_after
from securechat.robots.openai.messages import model_names, request
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import OpenAISettings, base_url
from securechat.robots.openai.visible_text import VisibleText
from securechat.robots.registry import make_robot
from tests.harness.openai_peer import KEY, SCRIPTS, OpenAIPeer, chunk, data
from tests.harness.streams import cut, read
from tests.robots.test_http import HANG_UP, until
from tests.robots.test_sse import PLACES

reactor: Any = installed

SAID = "the user said"  # the peer's errors quote the conversation with these words


def conversation(*texts: str) -> Conversation:
    speakers = (Speaker.USER, Speaker.ROBOT)
    return Conversation("a" * 32, [Turn(speakers[number % 2], text) for number, text in enumerate(texts)])


class OpenAITestCase(TestCase):
    """A peer on a real port, and a robot that asks it."""

    def setUp(self) -> None:
        self.logged: list[str] = []

        def observe(event: Any) -> None:
            self.logged.append(str(formatEvent(event)) + str(event.get("log_failure", "")))

        observer = cast(Any, observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.addCleanup(self.assertNothingShown)
        self.robot = self.start()

    def start(self, models: list[str] | None = None, key: str | None = None, **options: Any) -> OpenAIRobot:
        """A new peer, and a robot for it."""
        self.peer = OpenAIPeer(reactor, models, key)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        return self.make(**options)

    def make(self, key: str | None = None, **options: Any) -> OpenAIRobot:
        usual = {"url": base_url(self.url), "model": "peer-model", "timeout": 0.25, "first_timeout": 2.0}
        robot = OpenAIRobot(reactor, OpenAISettings(**{**usual, **options}), key)
        self.addCleanup(robot.close)
        return robot

    def assertNothingShown(self) -> None:
        for line in self.logged:
            self.assertNotIn(KEY, line)
            self.assertNotIn(SAID, line)

    async def say(self, text: str, robot: IRobot | None = None) -> str:
        return "".join([part async for part in (robot or self.robot).reply(conversation(text))])

    async def fault(self, text: str, robot: IRobot | None = None) -> tuple[str, str, str]:
        """What came of it before the fault, the fault, and what the operator reads."""
        parts: list[str] = []
        with self.assertRaises(RobotError) as caught:
            async for part in (robot or self.robot).reply(conversation(text)):
                parts.append(part)
        for shown in (str(caught.exception), repr(caught.exception)):
            self.assertNotIn(KEY, shown)
            self.assertNotIn(SAID, shown)
        return "".join(parts), caught.exception.fault.name, str(caught.exception)

    async def assertFaults(self, fault: Fault, said: str, *texts: str) -> None:
        for text in texts:
            found = await self.fault(text)
            self.assertEqual((text, *found[:2]), (text, said, fault.name))
        self.assertEqual(await self.say("still there?"), "still there? ")


class ServerTests(OpenAITestCase):
    """What real servers send."""

    async def test_flavours(self) -> None:
        """Ollama, llama.cpp, vLLM and OpenRouter, each in its own way (traps 1, 4, 5)."""
        for text in ("ollama", "llama.cpp", "vllm", "openrouter"):
            self.assertEqual((text, await self.say(text)), (text, "Hello"))

    async def test_asWritten(self) -> None:
        """Every end of a line, byte order mark, fields over several lines, no blank line at the end (trap 2)."""
        for text in ("cr", "crlf", "fields"):
            self.assertEqual((text, await self.say(text)), (text, "Hello"))

    async def test_charactersInPieces(self) -> None:
        """Characters whose bytes, or whose halves as JSON writes them, come in several pieces (trap 3)."""
        self.assertEqual(await self.say("bytes", self.make(timeout=2.0)), "汉字😀")
        self.assertEqual(await self.say("surrogates"), "a😀bc\ufffd")

    async def test_nothingWhereSomethingIsExpected(self) -> None:
        """Choices, deltas, contents and ends that are missing, null, empty or unknown (trap 4)."""
        self.assertEqual(await self.say("nulls"), "Hello")

    async def test_otherChoices(self) -> None:
        """Of several choices the first is the reply, whatever becomes of the others (trap 5)."""
        self.assertEqual(await self.say("choices"), "Hello")

    async def test_notAsAskedFor(self) -> None:
        """A whole answer to who wants a stream, a stream to who wants none, whatever type they claim (trap 9)."""
        for robot in (self.robot, self.make(stream=False)):
            for text in ("whole", "whole parts", "whole as stream", "stream as whole"):
                self.assertEqual((text, await self.say(text, robot)), (text, "Hello"))
        self.assertEqual(await self.say("one two", self.make(stream=False)), "one two")

    async def test_thoughts(self) -> None:
        """What a model thinks is not said: in a field of any name, or in tags that come in pieces (trap 12)."""
        self.assertEqual(await self.say("reasoning"), "Hello")
        self.assertEqual(await self.say("think"), "Hello <think>")
        self.assertEqual(await self.fault("think only"), ("", "BROKEN_ANSWER", "the reply is nothing but thoughts"))

    async def test_compressed(self) -> None:
        """A stream that is compressed although nobody asked for it (trap 17)."""
        for text in ("gzip", "gzip members"):
            self.assertEqual(await self.say(text), "Hello")
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hello", "gzip cut")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "gzip not", "deflate")

    async def test_refusal(self) -> None:
        """What a model says instead of an answer is the answer."""
        self.assertEqual(await self.say("refusal"), "I must not.")


class EndTests(OpenAITestCase):
    """How replies end, well or not."""

    async def test_errorsWithinAStream(self) -> None:
        """An error after status 200 is an error, in whatever form; what came before it is shown (trap 6)."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "error text", "error object", "error event", "error line")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "error detail", "error whole")
        await self.assertFaults(Fault.REFUSED, "", "error message")
        await self.assertFaults(Fault.BUSY, "", "error busy")
        await self.assertFaults(Fault.TOO_LONG, "", "error long")

    async def test_cut(self) -> None:
        """A stream that ends without an end is cut, also if HTTP says that it is whole; its text is shown (trap 7)."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hello", "cut", "cut clean")
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "cut ollama", "cut event", "reset")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "reset at once", "nothing")
        self.assertEqual((await self.fault("cut clean"))[2], "the reply was cut")

    async def test_wholeWithoutDone(self) -> None:
        """When the model has ended, it does not matter how the stream does, and it is not waited for (trap 7)."""
        self.patch(module, "END_TIMEOUT", 0.1)
        patient = self.make(timeout=60.0)
        before = reactor.seconds()
        for text in ("no done", "no end", "cut after"):
            self.assertEqual((text, await self.say(text, patient)), (text, "Hello"))
        self.assertLess(reactor.seconds() - before, 5.0)

    async def test_aborted(self) -> None:
        """The end of a stream without the end of the reply is an abort, and so is an end that says so (trap 8)."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "abort", "abort finish", "empty finish")
        self.assertEqual((await self.fault("abort"))[2], "the reply was aborted")

    async def test_tooLong(self) -> None:
        """A reply that reached its limit says so beside the text, and is remembered; without text it is a fault."""
        parts = [part async for part in self.robot.reply(conversation("length"))]
        self.assertEqual("".join(part for part in parts if not isinstance(part, Notice)), "Hel")
        self.assertIn("may not be longer", parts[-1])
        self.assertIsInstance(parts[-1], Notice)
        await self.assertFaults(Fault.TOO_LONG, "", "length only", "too long", "too long vllm", "status 413")

    async def test_filtered(self) -> None:
        """A reply that a filter ended is refused, before its first word or after some."""
        await self.assertFaults(Fault.REFUSED, "", "filter only")
        await self.assertFaults(Fault.REFUSED, "Hel", "filter")

    async def test_empty(self) -> None:
        """No reply at all is a broken answer, not something to remember."""
        self.assertEqual(await self.fault("empty"), ("", "BROKEN_ANSWER", "the reply is empty"))

    async def test_pages(self) -> None:
        """A page of a proxy is a broken answer with any status, and never shown (trap 10)."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "html", "html 502", "html 404", "html untold")
        self.assertIn("HTML", (await self.fault("html 404"))[2])

    async def test_garbage(self) -> None:
        """What is no HTTP, no JSON, or another JSON is a broken answer."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "garbage", "garbage in stream", "binary in stream", "array")

    async def test_bounds(self) -> None:
        """Lines, events, streams, heads and bombs larger than they may be are broken answers (trap 17)."""
        self.patch(module, "MAX_BODY", 16 * 1024 * 1024)
        for text, words in (
            ("line", "a line of the answer is too long"),
            ("event", "an event of the answer is too large"),
            ("huge", "the answer is too large"),
            ("bomb", "the answer is too large"),
            ("head", "ConnectionAborted"),
            ("interim", "ConnectionAborted"),
        ):
            said, fault, detail = await self.fault(text)
            self.assertEqual((text, said, fault), (text, "", "BROKEN_ANSWER"))
            self.assertIn(words, detail)


class StatusTests(OpenAITestCase):
    """What a status other than success means (trap 14)."""

    async def test_everyStatus(self) -> None:
        """Each is a fault that tells the user whether trying again helps; none has the server's words."""
        expected = {
            Fault.REFUSED: (400, 401, 402, 403, 404, 405, 409, 418, 422),
            Fault.BUSY: (429, 503),
            Fault.TOO_LONG: (413,),
            Fault.TIMED_OUT: (408,),
            Fault.BROKEN_ANSWER: (500, 501, 502, 504, 529),
        }
        for fault, statuses in expected.items():
            await self.assertFaults(fault, "", *(f"status {status}" for status in statuses))

    async def test_busy(self) -> None:
        """When to ask again is known, if the server says it, in seconds or as a date."""
        for text, seconds in (("busy", 7.0), ("busy date", MAX_RETRY_AFTER), ("loading", None)):
            with self.assertRaises(RobotError) as caught:
                await self.say(text)
            self.assertEqual((caught.exception.fault, caught.exception.retry_after), (Fault.BUSY, seconds))

    async def test_wrongKey(self) -> None:
        """A key that is not accepted is refused, and not shown, even if the server shows it."""
        robot = self.start(key="another", model=None)
        self.assertIn("the key was not accepted", (await self.fault("hello", robot))[2])
        robot = self.make(key=KEY)
        _, fault, detail = await self.fault("hello", robot)
        self.assertEqual((fault, detail), ("REFUSED", "HTTP status 401: the key was not accepted (invalid_api_key)"))
        self.start(key=KEY)
        robot = self.make(key=KEY)
        self.assertEqual(await self.say("hello", robot), "hello ")
        for text in ("key", "key in code"):
            self.assertEqual((await self.fault(text, robot))[1], "REFUSED")

    async def test_unknownModel(self) -> None:
        """The operator reads which models there are."""
        self.assertIn("the models are peer-model", (await self.fault("no model"))[2])
        robot = self.start(["a\x1b[31m\u202eb", *(f"m{number}" * 99 for number in range(20))])
        detail = (await self.fault("no model", robot))[2]
        self.assertIn("the models are a[31mb, m0m0", detail)
        self.assertTrue(detail.endswith(" …"))
        self.assertLess(len(detail), 1000)
        self.assertIn("lists no models", (await self.fault("hello", self.make(url=base_url(self.url + "/wrong"))))[2])

    async def test_redirect(self) -> None:
        """A redirect is not followed: it would take key and conversation to somebody else (trap 19)."""
        self.assertEqual((await self.fault("redirect"))[1], "BROKEN_ANSWER")
        self.assertEqual(self.peer.paths, ["/v1/chat/completions"])


class TimeTests(OpenAITestCase):
    """How long is waited, and for what (traps 1, 11, 18)."""

    async def test_firstToken(self) -> None:
        """The first token may take its time, the next ones have less; each phase has its own."""
        self.assertEqual(await self.say("late"), "Hello")
        hasty = self.make(first_timeout=0.1)
        for text in ("hang", "hang after head", "hang after role", "late"):
            found = await self.fault(text, hasty)
            self.assertEqual((text, *found), (text, "", "TIMED_OUT", "nothing came within 0.1 s"))
        for text in ("hang between", "hang in token"):
            found = await self.fault(text)
            self.assertEqual((text, *found), (text, "Hel", "TIMED_OUT", "nothing came within 0.25 s"))
        await until(lambda: self.peer.open == 1)

    async def test_commentsAreNoProgress(self) -> None:
        """Comments keep a connection alive, not a reply (trap 1)."""
        self.assertEqual((await self.fault("comments"))[:2], ("Hello", "TIMED_OUT"))
        self.assertEqual((await self.fault("comments only", self.make(first_timeout=0.2)))[:2], ("", "TIMED_OUT"))

    async def test_slow(self) -> None:
        """A reply that takes longer than any of the times is whole, if its parts keep coming; thoughts are parts."""
        robot = self.make(timeout=0.2, first_timeout=0.2)
        self.assertEqual(await self.say("slow", robot), "Hello")
        self.assertEqual(await self.say("slow thought", robot), "Hello")

    async def test_wholeAnswers(self) -> None:
        """Without streaming all of the answer has the first token's time."""
        self.assertEqual(await self.say("slow", self.make(stream=False, timeout=0.05)), "Hello")
        found = await self.fault("slow", self.make(stream=False, first_timeout=0.2))
        self.assertEqual(found[1], "TIMED_OUT")

    async def test_slowUser(self) -> None:
        """Time does not pass while the user's end is slow; and the server cannot go on meanwhile (trap 18)."""
        async with aclosing(self.robot.reply(conversation("flood"))) as parts:
            for _ in range(2):
                await anext(parts)
                sent = self.peer.sent
                await deferLater(reactor, 0.3)
            self.assertLess(self.peer.sent, 25_000_000)
            self.assertEqual(self.peer.sent, sent)
        async with aclosing(self.robot.reply(conversation("slow"))) as parts:
            text = await anext(parts)
            await deferLater(reactor, 0.3)
            self.assertEqual(text + "".join([part async for part in parts]), "Hello")

    async def test_unreachable(self) -> None:
        """Nobody there, also after two more attempts."""
        self.patch(connecting, "BACK_OFFS", ((0.01, 0.02),) * 2)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        url = base_url(f"http://127.0.0.1:{port.getHost().port}")
        await port.stopListening()
        self.assertEqual((await self.fault("hello", self.make(url=url)))[1], "UNREACHABLE")


class HangingUpTests(OpenAITestCase):
    """Whoever stops a reply stops the server's work (trap 16)."""

    async def assertHangsUp(self, hang_up: Callable[[], object]) -> None:
        before = reactor.seconds()
        hang_up()
        await until(lambda: self.peer.lost)
        self.assertLess(self.peer.lost.pop() - before, HANG_UP)
        await until(lambda: self.peer.open == 0, HANG_UP)

    async def test_cancelledWhileItWaits(self) -> None:
        """Before the head, before the first token, between tokens, in one, in an error, over and over."""
        for text in ("hang", "hang after head", "hang after role", "hang between", "hang in token", "comments only"):
            reply = Deferred.fromCoroutine(self.say(text))
            asked = len(self.peer.asked)
            await until(lambda asked=asked: len(self.peer.asked) > asked)  # type: ignore[misc]
            await deferLater(reactor, 0.03)
            await self.assertHangsUp(reply.cancel)
            with self.assertRaises(CancelledError):
                await reply
        self.assertEqual(await self.say("still there?"), "still there? ")

    async def test_closedAtAYield(self) -> None:
        """Left after a part of the reply, while more is coming, or none is, or all has come."""
        for text in ("hang between", "flood", "slow", "hang in token"):
            parts = self.robot.reply(conversation(text))
            await anext(parts)

            def close(parts: AsyncGenerator[str, None] = parts) -> None:
                self.closed(parts)

            await self.assertHangsUp(close)
        async with aclosing(self.robot.reply(conversation("one two three four"))) as parts:
            await anext(parts)
        await until(lambda: self.peer.open == 0)

    def closed(self, parts: AsyncGenerator[str, None]) -> None:
        """Close without a loop's help: it must not have to wait for anything."""
        with self.assertRaises(StopIteration):
            parts.aclose().send(None)

    async def test_cancelledWhileItConnects(self) -> None:
        """Cancelled at once, before there is a connection, nothing is asked."""
        reply = Deferred.fromCoroutine(self.say("hello"))
        reply.cancel()
        with self.assertRaises(CancelledError):
            await reply
        await deferLater(reactor, 0.05)
        self.assertEqual((self.peer.asked, self.peer.open), ([], 0))

    async def test_cancelledWhileItLooksForAModel(self) -> None:
        """Also the request for the models ends."""
        robot = self.start(model=None)
        self.peer.models_script = SCRIPTS["hang"]
        reply = Deferred.fromCoroutine(self.say("hello", robot))
        await until(lambda: self.peer.paths)
        await self.assertHangsUp(reply.cancel)
        with self.assertRaises(CancelledError):
            await reply


class RequestTests(OpenAITestCase):
    """What is sent."""

    async def test_noMoreThanConfigured(self) -> None:
        """Model, conversation and that a stream is wanted; nothing else, and nobody's name (trap 13)."""
        conversed = conversation("hello", "Hi.", "汉字😀")
        "".join([part async for part in self.robot.reply(conversed)])
        self.assertEqual(
            self.peer.asked,
            [
                {
                    "model": "peer-model",
                    "messages": [
                        {"role": "user", "content": "hello"},
                        {"role": "assistant", "content": "Hi."},
                        {"role": "user", "content": "汉字😀"},
                    ],
                    "stream": True,
                }
            ],
        )
        sent = self.peer.headers[0]
        self.assertEqual(sent.keys(), {"host", "content-type", "content-length"})

    async def test_everythingConfigured(self) -> None:
        """What is configured is sent."""
        self.start(key=KEY)
        robot = self.make(key=KEY, system="Be brief.", temperature=0.5, max_tokens=99, stream=False, model="m")
        self.assertEqual(await self.say("hello", robot), "hello")
        self.assertEqual(
            self.peer.asked,
            [
                {
                    "model": "m",
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "hello"},
                    ],
                    "temperature": 0.5,
                    "max_tokens": 99,
                }
            ],
        )
        self.assertEqual(self.peer.headers[0]["authorization"], f"Bearer {KEY}")

    async def test_firstModel(self) -> None:
        """Without a model's name the first that can chat is asked for once; again after it is gone."""
        robot = self.start(["nomic-embed-text", "first", "second"], model=None)
        for _ in range(2):
            await self.say("hello", robot)
        self.assertEqual([asked["model"] for asked in self.peer.asked], ["first"] * 2)
        self.assertEqual(self.peer.paths.count("/v1/models"), 1)
        await self.fault("no model", robot)
        self.peer.models = ["third"]
        await self.say("hello", robot)
        self.assertEqual(self.peer.asked[-1]["model"], "third")

    async def test_noModels(self) -> None:
        """A server without models, or with a list that is none."""
        robot = self.start([], model=None)
        self.assertEqual(
            await self.fault("hello", robot),
            ("", "REFUSED", "the server lists no model: say which one, with -R model=NAME"),
        )
        for script, fault in (("html", "BROKEN_ANSWER"), ("whole", "BROKEN_ANSWER"), ("busy", "BUSY")):
            self.peer.models_script = SCRIPTS[script]
            self.assertEqual((await self.fault("hello", robot))[:2], ("", fault))
        self.peer.models_script = SCRIPTS["hang"]
        self.assertEqual((await self.fault("hello", robot))[1], "TIMED_OUT")

    async def test_connectionIsKept(self) -> None:
        """Questions that are answered whole go over one connection."""
        for _ in range(5):
            await self.say("ollama")
        self.assertEqual(self.peer.connections, 1)


class OptionTests(SynchronousTestCase):
    """How an operator configures it."""

    def make(self, *options: str, **environ: str) -> OpenAIRobot:
        guarded = make_robot(reactor, "openai", options, environ)
        assert isinstance(guarded, GuardedRobot)
        robot = guarded._robot
        assert isinstance(robot, OpenAIRobot)
        return robot

    def file(self, text: bytes, mode: int = 0o600) -> str:
        path = Path(self.mktemp())
        path.write_bytes(text)
        path.chmod(mode)
        return str(path)

    def assertRefused(self, words: str, *options: str, **environ: str) -> None:
        error = self.assertRaises(ConfigurationError, self.make, *options, **environ)
        self.assertIn(words, str(error))
        self.assertNotIn(KEY, str(error))

    def test_addresses(self) -> None:
        """With ``/v1`` and without, with a slash at the end, with the whole path, or with another one (trap 15)."""
        for text, path in (
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1/chat/completions", "http://localhost:11434/v1"),
            ("https://models.example/api/v1//", "https://models.example/api/v1"),
            ("https://models.example/v1beta/openai", "https://models.example/v1beta/openai"),
            ("http://[::1]:11434", "http://[::1]:11434/v1"),
            ("https://models.example/v1?api-version=7#x", "https://models.example/v1?api-version=7"),
        ):
            self.assertEqual(base_url(text), path)
        self.assertEqual(
            self.make("url=https://models.example/v1?v=7")._chat_url, "https://models.example/v1/chat/completions?v=7"
        )
        for wrong in ("ftp://x", "http://", "x", f"http://u:{KEY}@localhost/"):
            self.assertRefused("-R url", f"url={wrong}")

    def test_defaults(self) -> None:
        """Ollama on this machine, without a key."""
        robot = self.make()
        self.assertEqual(robot._chat_url, "http://127.0.0.1:11434/v1/chat/completions")
        self.assertEqual((robot._timeout, robot._first_timeout, robot._stream), (30.0, 300.0, True))
        self.assertEqual((robot._model, robot._headers), (None, {}))

    def test_everything(self) -> None:
        """Everything that can be chosen arrives."""
        robot = self.make(
            "model=m",
            "temperature=0",
            "max-tokens=7",
            "timeout=0.5",
            "first-timeout=2",
            "stream=no",
            "system-file=" + self.file("你好\n".encode()),
            "key-file=" + self.file(KEY.encode() + b"\n"),
        )
        self.assertEqual(
            (robot._model, robot._timeout, robot._first_timeout, robot._stream, robot._question),
            ("m", 0.5, 2.0, False, {"system": "你好", "temperature": 0.0, "max_tokens": 7, "stream": False}),
        )
        self.assertEqual(robot._headers, {"Authorization": f"Bearer {KEY}"})

    def test_wrong(self) -> None:
        """What is wrong is said, with the option's name."""
        for option in (
            *("temperature=hot", "temperature=2.1", "temperature=-1", "temperature=nan", "max-tokens=0"),
            *("max-tokens=many", "timeout=0", "first-timeout=-1", "stream=maybe"),
        ):
            self.assertRefused("-R " + option.split("=")[0], option)
        self.assertRefused("exclude", "system=x", "system-file=y")
        self.assertRefused(":2: not valid UTF-8", "system-file=" + self.file(b"a\n\xff"))
        self.assertRefused("No such file", "system-file=/nonexistent")

    def test_key(self) -> None:
        """It comes from a file or the environment, is not shown, and smuggles nothing into a request (trap 20)."""
        for robot in (self.make("key-file=" + self.file(KEY.encode())), self.make(SECURECHAT_ROBOT_KEY=KEY + "\n")):
            self.assertEqual(robot._headers, {"Authorization": f"Bearer {KEY}"})
            self.assertNotIn(KEY, repr(robot))
        self.assertRefused("key-file=FILE", f"key={KEY}")
        self.assertRefused("the robot's key", SECURECHAT_ROBOT_KEY=f"{KEY} y")
        for wrong in (f"{KEY}\r\nX: y", f"{KEY}é"):
            self.assertRefused("one line of ASCII", SECURECHAT_ROBOT_KEY=wrong)


class VisibleTests(SynchronousTestCase):
    """Of what a model says, what is seen."""

    def show(self, *pieces: str) -> str:
        visible = VisibleText()
        return "".join(map(visible.feed, pieces)) + visible.end()

    def test_thoughts(self) -> None:
        """Those at the beginning are left out, however they are cut; later tags are words (trap 12)."""
        for text, seen in (
            ("<think>a</think>b", "b"),
            (" \n<think></think>\n\n<think>x</thin</think> b </think>", "b </think>"),
            ("a <think>b</think>", "a <think>b</think>"),
            ("<thin", "<thin"),
            ("<thing>", "<thing>"),
            ("<think>a", ""),
            ("<think>a</think", ""),
            ("<think>a\ud83d", ""),
            ("", ""),
            ("  hello ", "hello "),
        ):
            self.assertEqual(self.show(text), seen, ascii(text))
            self.assertEqual(self.show(*text), seen, ascii(text))

    def test_nothingIsHeldBack(self) -> None:
        """After the beginning every piece is shown at once."""
        visible = VisibleText()
        self.assertEqual([visible.feed(piece) for piece in ("<", "b", "<think>")], ["", "<b", "<think>"])

    def test_halves(self) -> None:
        """Halves of a pair come together; those that stand alone are replaced (trap 3)."""
        self.assertEqual(self.show("a\ud83d", "\ude00b"), "a😀b")
        self.assertEqual(self.show("\ud83d", "", "\ude00"), "😀")
        self.assertEqual(
            self.show("a\ud83d", "b\ude00", "\ud83d\ud83d", "\ude00c\ud83d"), "a\ufffdb\ufffd\ufffd😀c\ufffd"
        )


class ErrorTests(SynchronousTestCase):
    """What a server means by an error."""

    def test_everyShape(self) -> None:
        """An error may be a text, an object, or half of one; codes are shown, words are not (trap 6)."""
        for value, fault, codes in (
            ({"error": "x"}, Fault.BROKEN_ANSWER, ""),
            ({"error": {"message": "x", "code": "context_length_exceeded"}}, Fault.TOO_LONG, "context_length_exceeded"),
            ({"error": {"message": "Rate limit", "type": "rate_limit_error"}}, Fault.BUSY, "rate_limit_error"),
            ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, Fault.BUSY, "429, RESOURCE_EXHAUSTED"),
            ({"error": {"code": "503"}}, Fault.BUSY, "503"),
            ({"error": {"code": 401}}, Fault.REFUSED, "401"),
            ({"error": {"type": "content_filter", "code": None}}, Fault.REFUSED, "content_filter"),
            ({"error": {"code": "a b", "type": "x" * 65, "status": ["y"]}}, Fault.BROKEN_ANSWER, ""),
            ({"error": "This model's maximum context length is 7."}, Fault.TOO_LONG, ""),
            ({"detail": "x"}, Fault.BROKEN_ANSWER, ""),
            (None, Fault.BROKEN_ANSWER, ""),
            ([], Fault.BROKEN_ANSWER, ""),
            (7, Fault.BROKEN_ANSWER, ""),
        ):
            error = error_in(value)
            shown = "the server reports an error" + (f" ({codes})" if codes else "")
            self.assertEqual((error.fault, str(error)), (fault, shown), value)

    def test_retryAfter(self) -> None:
        """Seconds, a date, or nothing sensible."""
        for text, seconds in (
            (b"0", 0.0),
            (b" 12 ", 12.0),
            (b"999999", MAX_RETRY_AFTER),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            (b"Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER),
            *((text, None) for text in (b"", b"-1", b"1.5", b"soon", b"\xd9\xa1", b"inf", b"9" * 400, b"Wed, 99")),
        ):
            self.assertEqual(retry_after(text), seconds, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "message", "content", "finish_reason", "error", "index", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=5,
)
BODIES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.text(max_size=5).map(lambda text: data(chunk(text.encode(errors="replace").decode()))),
        st.sampled_from(["<think>", "</think>", "<thi", "\ud83d", "\ude00"]).map(
            lambda text: b"data: " + json.dumps(chunk(text)).encode() + b"\n\n"
        ),
        st.sampled_from([data("[DONE]"), data(chunk(finish="stop")), b"error: {}\n", b":\n", b"\n"]),
    ),
    max_size=6,
).map(b"".join)


class BodyTests(SynchronousTestCase):
    """A body's text and end, without a server."""

    def test_tooLargeForOne(self) -> None:
        """An answer that is no stream has its own bound (trap 17)."""
        self.patch(completions, "MAX_WHOLE", 100)
        whole = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
        self.assertEqual(read(whole), ("x", "well"))
        self.assertEqual(read(whole, b" " * 100), ("", "BROKEN_ANSWER: the answer is too large"))

    def test_beforeTheBeginning(self) -> None:
        """Blanks and a byte order mark before an answer do not matter (trap 9)."""
        whole = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
        for pieces in ((b"\r\n \xef\xbb\xbf" + whole,), (b"\xef", b"\xbb", b"\xbf", b"\n", whole)):
            self.assertEqual(read(*pieces), ("x", "well"))

    def test_errorThatIsNoJson(self) -> None:
        """An error's line or event may hold just words (trap 6)."""
        for body in (b"error: out of memory\n", b"event: error\ndata: {oops\n\n"):
            self.assertEqual(read(body), ("", "BROKEN_ANSWER: the server reports an error"))

    def test_afterTheEnd(self) -> None:
        """What comes after the last word does not matter, be it garbage (trap 7)."""
        good = data(chunk("x", "stop")) + data("[DONE]")
        for rest in (b"data: {", b"data: {\n\n", b"error: x\n\n", b"x" * 2_000_000, data("[DONE]")):
            for pieces in ((good, rest), (good + rest,)):
                self.assertEqual(read(*pieces), ("x", "well"))


class AnyBytesTests(SynchronousTestCase):
    """Any body, in any pieces."""

    @settings(max_examples=2000, deadline=None)
    @given(BODIES, PLACES)
    @example(b'{"choices": [' * 5000, [])
    @example(b'data: {"choices":' + b"[" * 100_000 + b"\n\n", [])
    @example(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop","index":' + b"9" * 5000 + b"}]}", [9])
    def test_sameReplyHoweverItIsCut(self, body: bytes, places: list[int]) -> None:
        """The reply does not depend on the pieces, only RobotErrors come out, and the text can be sent."""
        whole = read(body)
        self.assertEqual(read(*cut(body, places)), whole)
        whole[0].encode()

    @settings(max_examples=500, deadline=None)
    @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"data": value}).encode()))
    def test_anyListOfModels(self, body: bytes) -> None:
        """Names, or a broken answer."""
        try:
            names = model_names(body)
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        else:
            self.assertTrue(all(isinstance(name, str) for name in names))

    @settings(max_examples=500, deadline=None)
    @given(st.text(max_size=9), st.none() | st.text(max_size=5))
    def test_anyQuestion(self, text: str, system: str | None) -> None:
        """Whatever was said can be sent."""
        asked = json.loads(request("m", [Turn(Speaker.USER, text)], system=system))
        self.assertEqual(asked["messages"][-1]["content"], text)
