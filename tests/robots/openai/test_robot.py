"""The robot for OpenAI-compatible servers, with a peer that behaves like them, over real sockets."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TCPClient
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat import __version__
from securechat.conversation import Conversation, Notice, Speaker, Turn, Upstream, Usage
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import GuardedRobot
from securechat.robots.http import endpoint as connecting
from securechat.robots.interface import IRobot
from securechat.robots.openai import robot as module
from securechat.robots.openai.retry_after import MAX_RETRY_AFTER
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import OpenAISettings, base_url
from securechat.robots.registry import make_robot
from tests.harness.http import HANG_UP, until
from tests.harness.logs import logged_lines
from tests.harness.openai_peer import KEY, SCRIPTS, OpenAIPeer

reactor: Any = installed

PATIENCE = 20.0  # seconds; more than a busy machine needs
SAID = "the user said"  # in the error messages of the peer, which must not be logged


class OpenAITestCase(TestCase):
    """A peer on a real port, and a robot that uses it."""

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
        """A new peer, and a robot that uses it."""
        self.peer = OpenAIPeer(reactor, models, key)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        return self.make(**options)

    def make(self, key: str | None = None, **options: Any) -> OpenAIRobot:
        usual = {"url": base_url(self.url), "model": "peer-model", "timeout": PATIENCE, "first_timeout": PATIENCE}
        settings: dict[str, Any] = {**usual, **options}
        robot = OpenAIRobot(reactor, OpenAISettings(**{**settings, "url": (settings["url"],)}), key)
        self.addCleanup(robot.close)
        return robot

    def upstream(self) -> Upstream | None:
        """For a further conversation."""
        return None

    def conversation(self, *texts: str) -> Conversation:
        speakers = (Speaker.USER, Speaker.ROBOT)
        turns = [Turn(speakers[number % 2], text) for number, text in enumerate(texts)]
        return Conversation("a" * 32, turns, upstream=self.upstream())

    def assertNothingShown(self) -> None:
        for line in self.logged:
            self.assertNotIn(KEY, line)
            self.assertNotIn(SAID, line)

    async def say(self, text: str, robot: IRobot | None = None) -> str:
        return "".join([part async for part in (robot or self.robot).reply(self.conversation(text))])

    async def fault(self, text: str, robot: IRobot | None = None) -> tuple[str, str, str]:
        """The text before the fault, the fault, and the text for the operator."""
        parts: list[str] = []
        with self.assertRaises(RobotError) as caught:
            async for part in (robot or self.robot).reply(self.conversation(text)):
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
    """The formats of real servers."""

    async def test_realServers(self) -> None:
        """The streams of Ollama, llama.cpp, vLLM and OpenRouter are understood."""
        for text in ("ollama", "llama.cpp", "vllm", "openrouter"):
            self.assertEqual((text, await self.say(text)), (text, "Hello"))

    async def test_eventFormats(self) -> None:
        """Events may have any line ends, a byte order mark, several data lines and no blank line at the end."""
        for text in ("cr", "crlf", "fields"):
            self.assertEqual((text, await self.say(text)), (text, "Hello"))

    async def test_splitCharacters(self) -> None:
        """A character may be split between packets, and an escaped surrogate pair between chunks."""
        self.assertEqual(await self.say("bytes"), "汉字😀")
        self.assertEqual(await self.say("surrogates"), "a😀bc\ufffd")

    async def test_missingFields(self) -> None:
        """Choices, deltas, contents and finish reasons may be missing, null, empty or unknown."""
        self.assertEqual(await self.say("nulls"), "Hello")

    async def test_otherChoices(self) -> None:
        """If there are several choices, the first one is the reply."""
        self.assertEqual(await self.say("choices"), "Hello")

    async def test_streamedOrNot(self) -> None:
        """A server may stream or not, whatever the request asks for and its content type says."""
        for robot in (self.robot, self.make(stream=False)):
            for text in ("whole", "whole parts", "whole as stream", "stream as whole"):
                self.assertEqual((text, await self.say(text, robot)), (text, "Hello"))
        self.assertEqual(await self.say("one two", self.make(stream=False)), "one two")

    async def test_reasoning(self) -> None:
        """Reasoning is not shown, be it in fields or in tags, also if the tags are split."""
        self.assertEqual(await self.say("reasoning"), "Hello")
        self.assertEqual(await self.say("think"), "Hello <think>")
        self.assertEqual(await self.fault("think only"), ("", "BROKEN_ANSWER", "the reply contains only reasoning"))

    async def test_compressed(self) -> None:
        """gzip is accepted although it is not requested."""
        for text in ("gzip", "gzip members"):
            self.assertEqual(await self.say(text), "Hello")
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hello", "gzip cut")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "gzip not", "deflate")

    async def test_refusal(self) -> None:
        """The text of a refusal is the reply."""
        self.assertEqual(await self.say("refusal"), "I must not.")


class EndTests(OpenAITestCase):
    """How replies end."""

    async def test_errorsWithinAStream(self) -> None:
        """Errors in a stream are recognized in every form; the text before them is shown."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "error text", "error object", "error event", "error line")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "error detail", "error whole")
        await self.assertFaults(Fault.REFUSED, "", "error message")
        await self.assertFaults(Fault.BUSY, "", "error busy")
        await self.assertFaults(Fault.TOO_LONG, "", "error long")

    async def test_truncated(self) -> None:
        """A stream that ends without a finish reason is truncated, even if HTTP is complete; its text is shown."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hello", "cut", "cut clean")
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "cut ollama", "cut in event", "reset")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "reset at once", "nothing")
        self.assertEqual((await self.fault("cut clean"))[2], "the reply was truncated")

    async def test_wholeWithoutDone(self) -> None:
        """After the finish reason, it does not matter how the stream ends, or whether it does within the timeout."""
        for text in ("no done", "no end", "no blank line", "cut after"):
            self.assertEqual((text, await self.say(text)), (text, "Hello"))

    async def test_wholeWithDone(self) -> None:
        """After [DONE], the end of the stream is not waited for."""
        self.patch(module, "END_TIMEOUT", 0.1)
        before = reactor.seconds()
        self.assertEqual(await self.say("no end after done", self.make(timeout=60.0)), "Hello")
        self.assertLess(reactor.seconds() - before, 5.0)

    async def test_pauseAfterFinish(self) -> None:
        """A pause after a finish reason that is not the last one does not end the reply."""
        self.patch(module, "END_TIMEOUT", 0.01)
        for text in ("finish in every chunk", "null as text"):
            self.assertEqual((text, await self.say(text, self.make(timeout=2.0))), (text, "Hello"))
        said, fault, _detail = await self.fault("finish in every chunk, hang", self.make(timeout=0.2))
        self.assertEqual((said, fault), ("Hello", "TIMED_OUT"))

    async def test_aborted(self) -> None:
        """The finish reason "abort" is a fault; [DONE] without a finish reason is one only if there is no text."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "Hel", "abort finish")
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "abort at once")
        self.assertEqual((await self.fault("abort at once"))[2], "the server aborted the reply")
        for text in ("abort", "empty finish"):
            said, notice = [part async for part in self.robot.reply(self.conversation(text))]
            self.assertEqual(said, "Hel")
            self.assertIsInstance(notice, Notice)
            self.assertIn("may be incomplete", notice)

    async def test_tooLong(self) -> None:
        """At the maximum length, a notice follows the text, which is remembered; without text it is a fault."""
        parts = [part async for part in self.robot.reply(self.conversation("length"))]
        self.assertEqual("".join(part for part in parts if not isinstance(part, Notice)), "Hel")
        self.assertIn("maximum length", parts[-1])
        self.assertIsInstance(parts[-1], Notice)
        await self.assertFaults(Fault.TOO_LONG, "", "length only", "too long", "too long vllm", "status 413")

    async def test_filtered(self) -> None:
        """A content filter is a refusal, before or after the first word."""
        await self.assertFaults(Fault.REFUSED, "", "filter only")
        await self.assertFaults(Fault.REFUSED, "Hel", "filter")

    async def test_empty(self) -> None:
        """An empty reply is a broken answer."""
        self.assertEqual(await self.fault("empty"), ("", "BROKEN_ANSWER", "the reply is empty"))

    async def test_pages(self) -> None:
        """An HTML page is a broken answer with any status, and is not shown."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "html", "html 502", "html 404", "html untold")
        self.assertIn("HTML", (await self.fault("html 404"))[2])

    async def test_garbage(self) -> None:
        """Invalid HTTP, invalid JSON and unexpected JSON are broken answers."""
        await self.assertFaults(Fault.BROKEN_ANSWER, "", "garbage", "garbage in stream", "binary in stream", "array")

    async def test_limits(self) -> None:
        """Lines, events, streams and heads that are too large are broken answers, also after decompression."""
        self.patch(module, "MAX_BODY", 16 * 1024 * 1024)
        for text, words in (
            ("line", "a line of the event stream is too long"),
            ("event", "an event of the event stream is too large"),
            ("huge", "the response is too large"),
            ("bomb", "the response is too large"),
            ("head", "ConnectionAborted"),
            ("interim", "ConnectionAborted"),
        ):
            said, fault, detail = await self.fault(text)
            self.assertEqual((text, said, fault), (text, "", "BROKEN_ANSWER"))
            self.assertIn(words, detail)


class StatusTests(OpenAITestCase):
    """HTTP statuses other than success."""

    async def test_everyStatus(self) -> None:
        """Each status has its fault; the server's message is not shown or logged."""
        expected = {
            Fault.REFUSED: (400, 401, 403, 404, 405, 409, 418, 422),
            Fault.BUSY: (402, 429, 503, 529),
            Fault.TOO_LONG: (413,),
            Fault.TIMED_OUT: (408, 504, 524),
            Fault.BROKEN_ANSWER: (500, 501, 502),
        }
        for fault, statuses in expected.items():
            await self.assertFaults(fault, "", *(f"status {status}" for status in statuses))

    async def test_busy(self) -> None:
        """Retry-After is passed on, in seconds or as a date."""
        for text, seconds in (("busy", 7.0), ("busy date", MAX_RETRY_AFTER), ("loading", None)):
            with self.assertRaises(RobotError) as caught:
                await self.say(text)
            self.assertEqual((caught.exception.fault, caught.exception.retry_after), (Fault.BUSY, seconds))

    async def test_wrongKey(self) -> None:
        """A rejected API key is a refusal, and is not logged even if the server sends it back."""
        robot = self.start(key="another", model=None)
        self.assertIn("the API key was rejected", (await self.fault("hello", robot))[2])
        robot = self.make(key=KEY)
        _, fault, detail = await self.fault("hello", robot)
        self.assertEqual((fault, detail), ("REFUSED", "HTTP status 401: the API key was rejected (invalid_api_key)"))
        self.start(key=KEY)
        robot = self.make(key=KEY)
        self.assertEqual(await self.say("hello", robot), "hello ")
        for text in ("key", "key in code"):
            self.assertEqual((await self.fault(text, robot))[1], "REFUSED")

    async def test_unknownModel(self) -> None:
        """If the model does not exist, the log lists those that do."""
        self.assertIn("available models: peer-model", (await self.fault("no model"))[2])
        robot = self.start(["a\x1b[31m\u202eb", *(f"m{number}" * 99 for number in range(20))])
        detail = (await self.fault("no model", robot))[2]
        self.assertIn("available models: a[31mb, m0m0", detail)
        self.assertTrue(detail.endswith(" …"))
        self.assertLess(len(detail), 1000)
        self.assertIn("lists no models", (await self.fault("hello", self.make(url=base_url(self.url + "/wrong"))))[2])

    async def test_forbidden(self) -> None:
        """403 is said to be about the key only if the server says so; a server may also block the client."""
        for text, detail in (
            ("forbidden", "HTTP status 403: the API key was rejected (forbidden)"),
            ("blocked", "HTTP status 403"),
            ("blocked silently", "HTTP status 403"),
        ):
            self.assertEqual(await self.fault(text), ("", "REFUSED", detail))

    async def test_wrongModel(self) -> None:
        """Also if the status is 400, the log lists the models that exist."""
        found = await self.fault("no model 400")
        self.assertEqual(found, ("", "REFUSED", "HTTP status 400: available models: peer-model"))

    async def test_redirect(self) -> None:
        """Redirects are not followed, so that key and conversation are not sent to another server."""
        self.assertEqual((await self.fault("redirect"))[1], "BROKEN_ANSWER")
        self.assertEqual(self.peer.paths, ["/v1/chat/completions"])


class TimeTests(OpenAITestCase):
    """Timeouts."""

    async def test_firstToken(self) -> None:
        """The timeouts before the first token and between tokens are separate."""
        self.assertEqual(await self.say("late"), "Hello")
        robot = self.make(first_timeout=0.1)
        for text in ("hang", "hang after head", "hang after role", "late"):
            found = await self.fault(text, robot)
            self.assertEqual((text, *found), (text, "", "TIMED_OUT", "nothing received within 0.1 s"))
        robot = self.make(timeout=0.25)
        for text in ("hang between", "hang in token"):
            found = await self.fault(text, robot)
            self.assertEqual((text, *found), (text, "Hel", "TIMED_OUT", "nothing received within 0.25 s"))
        await until(lambda: self.peer.open == 1)

    async def test_comments(self) -> None:
        """Comments do not restart the timeout."""
        self.assertEqual((await self.fault("comments", self.make(timeout=0.2)))[:2], ("Hello", "TIMED_OUT"))
        self.assertEqual((await self.fault("comments only", self.make(first_timeout=0.2)))[:2], ("", "TIMED_OUT"))

    async def test_slow(self) -> None:
        """Each token restarts the timeout, and so does reasoning."""
        robot = self.make(timeout=0.4, first_timeout=0.4)
        self.assertEqual(await self.say("slow", robot), "Hello")
        self.assertEqual(await self.say("slow thought", robot), "Hello")

    async def test_wholeAnswers(self) -> None:
        """Without streaming, the whole reply has the timeout of the first token."""
        self.assertEqual(await self.say("slow", self.make(stream=False, timeout=0.05)), "Hello")
        found = await self.fault("slow", self.make(stream=False, first_timeout=0.2))
        self.assertEqual(found[1], "TIMED_OUT")

    async def test_slowUser(self) -> None:
        """While a slow user delays the reply, no timeout runs and the server cannot send more."""
        robot = self.make(timeout=0.5)
        async with aclosing(robot.reply(self.conversation("flood"))) as parts:
            for _ in range(2):
                await anext(parts)
                await deferLater(reactor, 0.6)
            self.assertLess(await self.peer.stopped_sending(), 25_000_000)
        async with aclosing(robot.reply(self.conversation("slow"))) as parts:
            text = await anext(parts)
            await deferLater(reactor, 0.6)
            self.assertEqual(text + "".join([part async for part in parts]), "Hello")

    async def test_unreachable(self) -> None:
        """If no server listens, the robot is unreachable after two retries."""
        self.patch(connecting, "RETRY_DELAYS", ((0.01, 0.02),) * 2)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        url = base_url(f"http://127.0.0.1:{port.getHost().port}")
        await port.stopListening()
        self.assertEqual((await self.fault("hello", self.make(url=url)))[1], "UNREACHABLE")


class CancelTests(OpenAITestCase):
    """Cancelling a reply closes the connection, so that the server stops generating."""

    async def assertDisconnects(self, cancel: Callable[[], object]) -> None:
        before = reactor.seconds()
        cancel()
        await until(lambda: self.peer.lost)
        self.assertLess(self.peer.lost.pop() - before, HANG_UP)
        await until(lambda: self.peer.open == 0, HANG_UP)

    async def test_whileWaiting(self) -> None:
        """A reply can be cancelled before its head, before the first token, between tokens and within one."""
        for text in ("hang", "hang after head", "hang after role", "hang between", "hang in token", "comments only"):
            reply = Deferred.fromCoroutine(self.say(text))
            asked = len(self.peer.asked)
            await until(lambda asked=asked: len(self.peer.asked) > asked)  # type: ignore[misc]
            await deferLater(reactor, 0.03)
            await self.assertDisconnects(reply.cancel)
            with self.assertRaises(CancelledError):
                await reply
        self.assertEqual(await self.say("still there?"), "still there? ")

    async def test_afterChunk(self) -> None:
        """A reply can be closed after a chunk, whether more is on its way or not."""
        for text in ("hang between", "flood", "slow", "hang in token"):
            parts = self.robot.reply(self.conversation(text))
            await anext(parts)

            closed: list[Deferred[None]] = []

            def close(parts: Any = parts, closed: Any = closed) -> None:
                closed.append(Deferred.fromCoroutine(parts.aclose()))

            await self.assertDisconnects(close)
            await closed[0]
        async with aclosing(self.robot.reply(self.conversation("one two three four"))) as parts:
            await anext(parts)
        await until(lambda: self.peer.open == 0)

    async def test_whileConnecting(self) -> None:
        """If a reply is cancelled before there is a connection, no request is sent."""
        reply = Deferred.fromCoroutine(self.say("hello"))
        reply.cancel()
        with self.assertRaises(CancelledError):
            await reply
        await deferLater(reactor, 0.05)
        self.assertEqual((self.peer.asked, self.peer.open), ([], 0))

    async def test_whileListingModels(self) -> None:
        """The request for the list of models can be cancelled, too."""
        robot = self.start(model=None)
        self.peer.models_script = SCRIPTS["hang"]
        reply = Deferred.fromCoroutine(self.say("hello", robot))
        await until(lambda: self.peer.paths)
        await self.assertDisconnects(reply.cancel)
        with self.assertRaises(CancelledError):
            await reply

    async def test_slotIsHeldUntilClosed(self) -> None:
        """A cancelled reply counts as concurrent until its connection is closed, also if it is cancelled twice."""
        robot, descriptors = self.robot, []

        class Watching:
            name = "watching"

            def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                descriptors.append([client.fileno() for client in clients])
                return robot.reply(conversation)

        guarded = cast(IRobot, GuardedRobot(cast(IRobot, Watching()), FairQueue(1), CircuitBreaker(lambda: 0.0)))
        for text in ("hang", "hang between"):
            clients: list[Any] = []
            reply = Deferred.fromCoroutine(self.say(text, guarded))
            asked = len(self.peer.asked)
            await until(lambda asked=asked: len(self.peer.asked) > asked)  # type: ignore[misc]
            await deferLater(reactor, 0.03)
            clients += [reader for reader in reactor.getReaders() if isinstance(reader, TCPClient)]
            self.assertEqual([client.fileno() > 0 for client in clients], [True])
            descriptors.clear()
            next_reply = Deferred.fromCoroutine(self.say("hello", guarded))
            reply.cancel()
            reply.cancel()
            with self.assertRaises(CancelledError):
                await reply
            self.assertEqual(await next_reply, "hello ")
            self.assertEqual(descriptors, [[-1]])
            await robot.close()


class RequestTests(OpenAITestCase):
    """Requests."""

    async def test_noMoreThanConfigured(self) -> None:
        """A request contains the model, the conversation, the user's pseudonym and `stream`, and no user's name."""
        conversed = self.conversation("hello", "Hi.", "汉字😀")
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
                    "user": "a" * 32,
                    "stream_options": {"include_usage": True},
                }
            ],
        )
        sent = self.peer.headers[0]
        self.assertEqual(sent.keys(), {"host", "content-type", "content-length", "user-agent"})
        self.assertEqual(sent["user-agent"], f"securechat/{__version__}")

    async def test_everythingConfigured(self) -> None:
        """Options that are set are sent."""
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
                    "user": "a" * 32,
                }
            ],
        )
        self.assertEqual(self.peer.headers[0]["authorization"], f"Bearer {KEY}")

    async def test_strictServers(self) -> None:
        """A server that refuses fields that it does not know is asked again without those that are not needed."""
        for message in (
            {"message": "Unrecognized request argument supplied: stream_options"},
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]},
            {"message": 'json: unknown field "user"'},
            {"message": "property 'user' is unsupported"},
        ):
            self.peer.extras_error = message
            robot = self.make(model="m")
            before = len(self.peer.asked)
            for _ in range(2):
                self.assertEqual(await self.say("hello", robot), "hello ")
            asked = [sorted(body) for body in self.peer.asked[before:]]
            few = ["messages", "model", "stream"]
            self.assertEqual(asked, [[*few, "stream_options", "user"], few, few], message)
            await robot.close()

    async def test_extrasAreDroppedOnce(self) -> None:
        """An error that remains is reported."""
        self.assertEqual((await self.fault("extra"))[1], "REFUSED")
        self.assertEqual(len(self.peer.asked), 2)

    async def test_usage(self) -> None:
        """The numbers of tokens of a reply are those that the server reports."""
        for text, usage in (
            ("counted", Usage(11, 2)),
            ("counted whole", Usage(5, 1)),
            ("vllm", Usage(0, 0)),
            ("hello", Usage()),
        ):
            conversation = self.conversation(text)
            async for _part in self.robot.reply(conversation):
                pass
            self.assertEqual(conversation.usage, usage, text)

    async def test_usageOfACancelledReply(self) -> None:
        """What was reported before a reply broke off counts."""
        conversation = self.conversation("counted cut")
        with self.assertRaises(RobotError):
            async for _part in self.robot.reply(conversation):
                pass
        self.assertEqual(conversation.usage, Usage(11, 1))

    async def test_firstModel(self) -> None:
        """Without the option model, the first suitable model is looked up once, and again after it has gone."""
        robot = self.start(["nomic-embed-text", "first", "second"], model=None)
        for _ in range(2):
            await self.say("hello", robot)
        self.assertEqual([asked["model"] for asked in self.peer.asked], ["first"] * 2)
        self.assertEqual(self.peer.paths.count("/v1/models"), 1)
        await self.fault("no model", robot)
        self.peer.models = ["third"]
        await self.say("hello", robot)
        self.assertEqual(self.peer.asked[-1]["model"], "third")

    async def test_unsuitableModel(self) -> None:
        """If the server refuses a model that was chosen from its list, the question is asked again with another."""
        robot = self.start(["first", "second"], model=None)
        self.peer.unsuitable = {"first"}
        for _ in range(2):
            self.assertEqual(await self.say("hello", robot), "hello ")
        self.assertEqual([asked["model"] for asked in self.peer.asked], ["first", "second", "second"])
        self.peer.unsuitable = {"first", "second"}
        self.assertEqual((await self.fault("hello", robot))[1], "REFUSED")
        self.assertLess(len(self.peer.asked), 7)
        self.peer.unsuitable = {"second"}
        self.assertEqual(await self.say("hello", robot), "hello ")
        robot = self.make(model="second")
        self.peer.asked.clear()
        self.assertEqual((await self.fault("hello", robot))[1], "REFUSED")
        self.assertEqual(len(self.peer.asked), 1)

    async def test_maxCompletionTokens(self) -> None:
        """A server that wants max_completion_tokens instead of max_tokens gets it, after one refusal."""
        robot = self.make(max_tokens=9)
        self.peer.wants_max_completion_tokens = True
        for _ in range(2):
            self.assertEqual(await self.say("hello", robot), "hello ")
        found = [(asked.get("max_tokens"), asked.get("max_completion_tokens")) for asked in self.peer.asked]
        self.assertEqual(found, [(9, None), (None, 9), (None, 9)])

    async def test_headers(self) -> None:
        """Additional headers are sent with each request, and can replace those of securechat."""
        robot = self.make(KEY, model=None, header=("X-Project: a: b", "user-agent: mine", "authorization: Basic x"))
        await self.say("hello", robot)
        for headers in self.peer.headers:
            self.assertEqual(
                (headers["x-project"], headers["user-agent"], headers["authorization"]), ("a: b", "mine", "Basic x")
            )

    async def test_secretHeaders(self) -> None:
        """The values of headers are not shown, even if the server sends them back."""
        robot = self.make(header=(f"api-key: {KEY}",))
        self.assertIn("…", (await self.fault("key in code", robot))[2])
        self.assertNotIn(KEY, repr(robot))

    async def test_rootUrl(self) -> None:
        """A URL whose whole path is /chat/completions is that of an API at the root."""
        self.peer.prefix = ""
        robot = self.make(url=base_url(self.url + "/chat/completions"), model=None)
        self.assertEqual(await self.say("hello", robot), "hello ")
        self.assertEqual(self.peer.paths, ["/models", "/chat/completions"])

    async def test_closedConnections(self) -> None:
        """If the server closes each connection after its reply, without saying so, no question is lost."""
        for _ in range(5):
            self.assertEqual(await self.say("good and close"), "Hello")

    async def test_noModels(self) -> None:
        """An empty or invalid list of models is a fault."""
        robot = self.start([], model=None)
        self.assertEqual(
            await self.fault("hello", robot),
            ("", "REFUSED", "the server lists no models; set one with -R model=NAME"),
        )
        invalid = ("", "BROKEN_ANSWER", "the response is not a list of models; set one with -R model=NAME")
        for script in ("html", "whole"):
            self.peer.models_script = SCRIPTS[script]
            self.assertEqual(await self.fault("hello", robot), invalid)
        self.peer.models_script = SCRIPTS["busy"]
        self.assertEqual((await self.fault("hello", robot))[:2], ("", "BUSY"))
        self.peer.models_script = SCRIPTS["hang"]
        robot = self.make(model=None, first_timeout=0.2)
        self.assertEqual((await self.fault("hello", robot))[1], "TIMED_OUT")

    async def test_connectionIsKept(self) -> None:
        """Messages with complete replies use one connection."""
        for _ in range(5):
            await self.say("ollama")
        self.assertEqual(self.peer.connections, 1)


class OptionTests(SynchronousTestCase):
    """The robot's options."""

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
        """The URL may have no path, ``/v1``, a slash at the end, the whole path or another path."""
        for text, path in (
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1/chat/completions", "http://localhost:11434/v1"),
            ("http://localhost:11434/chat/completions", "http://localhost:11434/"),
            ("http://localhost:11434/chat/completions/?a=b", "http://localhost:11434/?a=b"),
            ("https://models.example/api/v1//", "https://models.example/api/v1"),
            ("https://models.example/v1beta/openai", "https://models.example/v1beta/openai"),
            ("http://[::1]:11434", "http://[::1]:11434/v1"),
            ("https://models.example/v1?api-version=7#x", "https://models.example/v1?api-version=7"),
        ):
            self.assertEqual(base_url(text), path)
        self.assertEqual(
            self.make("url=https://models.example/v1?v=7")._chat_url, "https://models.example/v1/chat/completions?v=7"
        )
        for text in ("http://localhost/chat/completions", "https://models.example/x/chat/completions?api-version=7"):
            self.assertEqual(self.make(f"url={text}")._chat_url, text)
        for wrong in ("ftp://x", "http://", "x", f"http://u:{KEY}@localhost/"):
            self.assertRefused("-R url", f"url={wrong}")

    def test_defaults(self) -> None:
        """The default is Ollama on this machine, without a key."""
        robot = self.make()
        self.assertEqual(robot._chat_url, "http://127.0.0.1:11434/v1/chat/completions")
        self.assertEqual((robot._timeout, robot._first_timeout, robot._stream), (30.0, 300.0, True))
        self.assertEqual((robot._model, robot._headers), (None, {}))

    def test_everything(self) -> None:
        """All options reach the robot."""
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
        """Errors name the option."""
        for option in (
            *("temperature=hot", "temperature=2.1", "temperature=-1", "temperature=nan", "max-tokens=0"),
            *("max-tokens=many", "timeout=0", "first-timeout=-1", "stream=maybe"),
        ):
            self.assertRefused("-R " + option.split("=")[0], option)
        self.assertRefused("mutually exclusive", "system=x", "system-file=y")
        self.assertRefused(":2: not valid UTF-8", "system-file=" + self.file(b"a\n\xff"))
        self.assertRefused("No such file", "system-file=/nonexistent")

    def test_headers(self) -> None:
        """Headers come from options and from a file; errors and warnings do not contain their values."""
        file = self.file(f"# for the gateway\n\nX-Key: {KEY}\nX-Route: a\n".encode())
        robot = self.make("header=X-Tier:1", "header=X-Route: b", f"header-file={file}")
        self.assertEqual(robot._headers, {"X-Tier": "1", "X-Route": "a", "X-Key": KEY})
        for wrong in (KEY, f"X-Key {KEY}", "X:", ":x", f"X:{KEY}é", f"X:{KEY}\x07y", f"Host: {KEY}"):
            self.assertRefused("-R header=…: ", f"header={wrong}")
            self.assertRefused(":1: ", "header-file=" + self.file(wrong.encode()))
        self.assertRefused("-R header=…: ", f"header=X:{KEY}\r\nY: z")
        self.assertRefused("permissions", "header-file=" + self.file(b"X: y", 0o644))

    def test_headersOnTheCommandLine(self) -> None:
        """A header on the command line that looks like a secret causes a warning, without its value."""
        logged = logged_lines(self)
        self.make(f"header=Api-Key:{KEY}", "header=X-Tier:1")
        self.assertEqual(len(logged), 1)
        self.assertIn("header Api-Key", logged[0])
        self.assertNotIn(KEY, logged[0])

    def test_key(self) -> None:
        """The key comes from a file or the environment, is not shown, and cannot contain a line break."""
        for robot in (self.make("key-file=" + self.file(KEY.encode())), self.make(SECURECHAT_ROBOT_KEY=KEY + "\n")):
            self.assertEqual(robot._headers, {"Authorization": f"Bearer {KEY}"})
            self.assertNotIn(KEY, repr(robot))
        self.assertRefused("key-file=FILE", f"key={KEY}")
        self.assertRefused("contains a space", SECURECHAT_ROBOT_KEY=f"{KEY} y")
        for wrong in (f"{KEY}\r\nX: y", f"{KEY}é"):
            self.assertRefused("one line of ASCII", SECURECHAT_ROBOT_KEY=wrong)
