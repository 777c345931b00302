"""The robot for servers with OpenAI's interface, against one on a real port that does what such servers do."""

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import Conversation, IRobot, IRobotMaker, Notice, Speaker, Turn
from securechat.robots.completions import Joiner, error_in, models_in, parse
from securechat.robots.openai import OpenAIMaker, OpenAIRobot
from securechat.robots.thoughts import Thoughts
from tests.openai_peer import KEY, MODELS, OpenAIPeer
from tests.test_chain import Listener

reactor: Any = installed

QUICK = {"first-timeout": "0.5", "timeout": "0.2"}
SOON = 0.2  # seconds in which the server has to learn that nobody listens any more


class OpenAITestCase(TestCase):
    """A server that plays what the message names, and a robot that asks it."""

    timeout = 30

    def setUp(self) -> None:
        self.peer = OpenAIPeer(reactor)
        self.listening = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(lambda: self.listening.stopListening())
        self.port = self.listening.getHost().port
        self.logged: list[str] = []
        observer = cast(ILogObserver, lambda event: self.logged.append(repr(event)))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

        self.addCleanup(self.quiet)

    async def quiet(self) -> None:
        """Wait until nobody is connected any more."""
        while self.peer.open:
            await deferLater(reactor, 0.01)

    def robot(self, key: str | None = None, **options: str) -> IRobot:
        given = {"url": f"http://127.0.0.1:{self.port}/v1", "model": "m", **QUICK}
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        robot = OpenAIMaker().makeRobot(reactor, given, key)
        self.addCleanup(robot.close)
        return robot

    def listen(self, text: str, key: str | None = None, **options: str) -> Listener:
        return Listener(self.robot(key, **options), text=text)

    async def say(self, text: str, **options: str) -> str:
        """The whole reply."""
        listener = self.listen(text, **options)
        await listener.done
        return "".join(listener.heard)

    async def fault(self, text: str, key: str | None = None, **options: str) -> tuple[str, Fault, str]:
        """What came before the reply broke off, and how it did."""
        listener = self.listen(text, key, **options)
        try:
            await listener.done
        except RobotError as error:
            self.assertNotIn("x</html>", str(error))
            return "".join(listener.heard), error.fault, str(error)
        raise AssertionError(f"{text} was answered with {listener.heard}")

    async def assertFault(self, text: str, fault: Fault, *, words: str = "", heard: str = "", **options: str) -> None:
        before, found, detail = await self.fault(text, **options)
        self.assertEqual((before, found), (heard, fault), text)
        self.assertIn(words, detail)


class QuestionTests(OpenAITestCase):
    """What is sent."""

    async def test_conversation(self) -> None:
        """The system's words, the turns so far and the question, and nothing that was not asked for."""
        robot = self.robot(KEY, system="Be brief.", temperature="0.5", max_tokens="99")
        turns = [Turn(Speaker.USER, "你"), Turn(Speaker.ROBOT, "a"), Turn(Speaker.USER, "ollama")]
        chunks = [chunk async for chunk in robot.reply(Conversation("ann", turns))]
        self.assertEqual(chunks, ["Hel", "lo"])
        [(path, headers, question)] = self.peer.asked
        self.assertEqual(path, "POST /v1/chat/completions")
        self.assertEqual(headers["authorization"], f"Bearer {KEY}")
        self.assertEqual(
            question,
            {
                "model": "m",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "你"},
                    {"role": "assistant", "content": "a"},
                    {"role": "user", "content": "ollama"},
                ],
                "stream": True,
                "temperature": 0.5,
                "max_tokens": 99,
            },
        )

    async def test_onlyWhatIsConfigured(self) -> None:
        """Fields that strict servers do not know are not there unless they were asked for (trap 13)."""
        await self.say("ollama", stream="no")
        [(_path, headers, question)] = self.peer.asked
        self.assertEqual(sorted(question), ["messages", "model", "stream"])
        self.assertFalse(question["stream"])
        self.assertNotIn("authorization", headers)
        self.assertNotIn("accept-encoding", headers)

    async def test_addresses(self) -> None:
        """With or without /v1, with a slash at its end, or with the whole path (trap 15)."""
        for path in ("", "/", "/v1", "/v1/", "/v1/chat/completions"):
            self.assertEqual(await self.say("ollama", url=f"http://127.0.0.1:{self.port}{path}"), "Hello")
        self.assertEqual({path for path, _headers, _question in self.peer.asked}, {"POST /v1/chat/completions"})

    async def test_anyModel(self) -> None:
        """Without a name it is the first model that the server lists, asked for once."""
        robot = self.robot(model="")
        for _time in range(2):
            listener = Listener(robot, text="ollama")
            await listener.done
        paths = [path for path, _headers, _question in self.peer.asked]
        self.assertEqual(paths, ["GET /v1/models", *["POST /v1/chat/completions"] * 2])
        self.assertEqual(self.peer.asked[-1][2]["model"], MODELS[0])
        self.peer.models = ()
        await self.assertFault("ollama", Fault.REFUSED, words="-R model=", model="")


class StreamTests(OpenAITestCase):
    """What is understood, although it is not what the documentation shows."""

    async def test_servers(self) -> None:
        """The streams of Ollama, llama.cpp and vLLM: role chunks, nulls, text in the last chunk, usage, timings."""
        for play in ("ollama", "llama.cpp", "vllm"):
            self.assertEqual(await self.say(play), "Hello")

    async def test_comments(self) -> None:
        """Comments are no text (trap 1)."""
        self.assertEqual(await self.say("comments"), "Hello")

    async def test_form(self) -> None:
        """Any line end, a byte-order mark, data in several lines, other fields, no end of the last line (trap 2)."""
        for play in ("crlf", "cr", "no last line end"):
            self.assertEqual(await self.say(play), "Hello there")
        self.assertEqual(await self.say("fields"), "Hello")
        await self.assertFault("unfinished event", Fault.BROKEN_ANSWER, heard="Hello")

    async def test_characters(self) -> None:
        """Characters cut between reads, and surrogates cut between chunks (trap 3)."""
        self.assertEqual(await self.say("split"), "你好，😀")
        self.assertEqual(await self.say("surrogates"), "😀")

    async def test_odd(self) -> None:
        """What is missing, null, empty, of another type, or another choice (traps 4 and 5)."""
        self.assertEqual(await self.say("odd"), "Hello!")

    async def test_whole(self) -> None:
        """An answer in one piece, although a stream was asked for, and a stream, although one piece was (trap 9)."""
        self.assertEqual(await self.say("whole"), "Hello")
        self.assertEqual(await self.say("whole, slow"), "Hello")
        self.assertEqual(await self.say("ollama", stream="no"), "Hello")

    async def test_thoughts(self) -> None:
        """What a model thinks is not said, and is a sign of life (trap 12)."""
        for play in ("thoughts", "long thoughts"):
            self.assertEqual(await self.say(play), "Hello")
        self.assertEqual(await self.say("inline thoughts"), "Hello <think>")
        self.assertEqual(await self.say("almost a thought"), "<thi")
        await self.assertFault("only thoughts", Fault.BROKEN_ANSWER, words="empty")

    async def test_packed(self) -> None:
        """A stream that comes compressed all the same is read, if it is whole (trap 17)."""
        for play in ("gzip", "deflate"):
            self.assertEqual(await self.say(play), "Hello there")
        for play in ("gzip, not", "brotli"):
            await self.assertFault(play, Fault.BROKEN_ANSWER)
        _heard, fault, _detail = await self.fault("gzip, cut")
        self.assertEqual(fault, Fault.BROKEN_ANSWER)


class EndTests(OpenAITestCase):
    """How replies end, and what is no end."""

    async def test_cut(self) -> None:
        """A stream that ends without saying so is a reply that was cut, Ollama's swallowed errors too (trap 7)."""
        for play in ("cut", "ollama's error"):
            await self.assertFault(play, Fault.BROKEN_ANSWER, heard="Hel", words="cut")
        for play in ("cut at once", "chunked, cut"):
            await self.assertFault(play, Fault.BROKEN_ANSWER, words="cut")

    async def test_aborted(self) -> None:
        """[DONE] without a reason, or with a bad one, is none either (trap 8)."""
        for play in ("aborted", "abort"):
            await self.assertFault(play, Fault.BROKEN_ANSWER, heard="Hel")
        await self.assertFault("filtered", Fault.REFUSED, heard="Hel", words="filter")
        await self.assertFault("empty", Fault.BROKEN_ANSWER, words="empty")

    async def test_noDone(self) -> None:
        """With a reason, [DONE] may be missing, and so may the connection's end."""
        self.assertEqual(await self.say("no done"), "Hello there")
        started = time.monotonic()
        self.assertEqual(await self.say("hangs after its end"), "Hello there")
        self.assertLess(time.monotonic() - started, 3)

    async def test_limit(self) -> None:
        """A reply that was as long as it may be is a reply, and the user is told."""
        listener = self.listen("limit")
        await listener.done
        self.assertEqual(listener.heard[0], "Hello")
        self.assertIsInstance(listener.heard[1], Notice)

    async def test_errors(self) -> None:
        """An error in a stream that began well is one, in each of its forms (trap 6)."""
        for play in ("error text", "error object", "error line"):
            await self.assertFault(play, Fault.BROKEN_ANSWER, heard="Hel")
        for play in ("error detail", "error message", "error event", "error whole"):
            await self.assertFault(play, Fault.BROKEN_ANSWER)

    async def test_statuses(self) -> None:
        """What the user hears and what the operator reads of each status (trap 14)."""
        for play, fault, words in (
            ("401", Fault.REFUSED, "invalid_api_key: the key was not accepted"),
            ("403", Fault.REFUSED, "the key was not accepted"),
            ("404", Fault.REFUSED, f"there are: {MODELS[0]}, {MODELS[1]}"),
            ("429", Fault.BUSY, "server_error"),
            ("503", Fault.BUSY, "unavailable_error"),
            ("400", Fault.REFUSED, "invalid_request_error"),
            ("context", Fault.TOO_LONG, "context_length_exceeded"),
            ("500", Fault.BROKEN_ANSWER, "server_error"),
        ):
            heard, found, detail = await self.fault(play, KEY)
            self.assertEqual((heard, found), ("", fault), play)
            self.assertIn(words, detail)
            self.assertNotIn("prompt", detail)
        await self.assertFault("x", Fault.REFUSED, words="look at the url", url=f"http://127.0.0.1:{self.port}/v2")

    async def test_retryAfter(self) -> None:
        """A server that says when to come back is believed, within reason."""
        for play, seconds in (("429", 7.0), ("429 date", 0.0), ("429 nonsense", None), ("503", None)):
            try:
                await self.listen(play).done
            except RobotError as error:
                self.assertEqual(error.retry_after, seconds, play)

    async def test_proxies(self) -> None:
        """A proxy's page is shown to nobody (trap 10)."""
        await self.assertFault("html", Fault.BROKEN_ANSWER)
        await self.assertFault("html 502", Fault.BROKEN_ANSWER, words="status 502")

    async def test_redirects(self) -> None:
        """They are not followed: the key is for the server that was named (trap 19)."""
        await self.assertFault("redirect", Fault.BROKEN_ANSWER, words="307")
        self.assertEqual(len(self.peer.asked), 1)

    async def test_garbage(self) -> None:
        """What is no HTTP, no JSON, or none that a server would send."""
        for play in ("garbage", "not json", "nested", "no object", "close"):
            await self.assertFault(play, Fault.BROKEN_ANSWER)

    async def test_bounds(self) -> None:
        """Lines, events, errors and answers without an end are broken off, and so is what grows when unpacked (17)."""
        for play in ("endless line", "endless event", "endless error", "endless answer", "bomb"):
            await self.assertFault(play, Fault.BROKEN_ANSWER, first_timeout="20", timeout="20")


class TimeTests(OpenAITestCase):
    """Servers that are slow, hang, or are not there."""

    async def test_first(self) -> None:
        """The first text may take long, but not forever; comments are no text (traps 1 and 11)."""
        self.assertEqual(await self.say("slow start"), "Hello")
        for play in ("hang", "hang before text", "comments only"):
            started = time.monotonic()
            await self.assertFault(play, Fault.TIMED_OUT)
            self.assertLess(abs(time.monotonic() - started - 0.5), 0.3)

    async def test_between(self) -> None:
        """Between two pieces there is less time, and comments do not make it more (trap 1)."""
        self.assertEqual(await self.say("slow"), "one two three ")
        for play in ("hang in text", "comments after text"):
            started = time.monotonic()
            await self.assertFault(play, Fault.TIMED_OUT, heard="Hello")
            self.assertLess(abs(time.monotonic() - started - 0.2), 0.2)

    async def test_aSlowListener(self) -> None:
        """Time runs while we wait for the server, not while somebody reads slowly; nor is the server read (trap 18)."""
        robot = self.robot()
        heard = []
        async for chunk in robot.reply(Conversation("ann", [Turn(Speaker.USER, "slow")])):
            heard.append(chunk)
            await deferLater(reactor, 0.4)
        self.assertEqual(heard, ["one ", "two ", "three "])

    async def test_nobodyThere(self) -> None:
        """A refused connection is tried again within a second, and then is a fault."""
        await self.listening.stopListening()
        started = time.monotonic()
        await self.assertFault("x", Fault.UNREACHABLE, words="ConnectionRefusedError", first_timeout="20")
        self.assertGreater(time.monotonic() - started, 0.4)
        self.assertLess(time.monotonic() - started, 3)

    async def test_backInAMoment(self) -> None:
        """A server that is being restarted is waited for: nothing had been sent to it."""
        await self.listening.stopListening()
        listener = self.listen("ollama", first_timeout="20")
        await deferLater(reactor, 0.05)
        self.listening = reactor.listenTCP(self.port, self.peer, interface="127.0.0.1")
        await listener.done
        self.assertEqual(len(self.peer.asked), 1)

    async def test_notAskedTwice(self) -> None:
        """A server that closes the connection over a question is not asked again."""
        await self.assertFault("close", Fault.BROKEN_ANSWER)
        self.assertEqual(len(self.peer.asked), 1)

    async def test_noSuchHost(self) -> None:
        """A name that nobody has, or a way that leads nowhere, costs three seconds at most."""
        started = time.monotonic()
        for host in ("does-not-exist.invalid", "192.0.2.1"):
            await self.assertFault("x", Fault.UNREACHABLE, url=f"http://{host}/v1", first_timeout="20")
        self.assertLess(time.monotonic() - started, 7)


class CancelTests(OpenAITestCase):
    """Nobody wants the answer any more (trap 16)."""

    async def test_anywhere(self) -> None:
        """The server's connection ends within 200 ms, wherever the reply is."""
        slowest = 0.0
        for play, wait in (
            ("hang", 0.1),
            ("hang before text", 0.1),
            ("hang in text", 0.1),
            ("comments only", 0.12),
            ("slow", 0.15),
            ("whole, slow", 0.1),
            ("hangs after its end", 0.3),
            ("endless error", 0.0),
        ):
            listener = self.listen(play, first_timeout="20", timeout="20")
            await deferLater(reactor, wait)
            self.peer.ends.clear()
            cancelled = time.monotonic()
            listener.done.cancel()
            with contextlib.suppress(CancelledError, RobotError):
                await listener.done
            while self.peer.open:
                await deferLater(reactor, 0.002)
                self.assertLess(time.monotonic() - cancelled, SOON, play)
            slowest = max([slowest, *(end - cancelled for end in self.peer.ends)])
        self.assertLess(slowest, SOON)

    async def test_betweenChunks(self) -> None:
        """Also when it is the listener's turn, who just does not go on."""
        chunks = self.robot().reply(Conversation("ann", [Turn(Speaker.USER, "hang in text")]))
        self.assertEqual(await anext(chunks), "Hello")
        await chunks.aclose()
        closed = time.monotonic()
        while self.peer.open:
            await deferLater(reactor, 0.002)
            self.assertLess(time.monotonic() - closed, SOON)

    async def test_connecting(self) -> None:
        """Also when there is no connection yet, or another attempt is waited for."""
        for url in ("http://192.0.2.1/v1", "http://127.0.0.1:1/v1"):
            listener = self.listen("x", url=url, first_timeout="20")
            await deferLater(reactor, 0.05)
            listener.done.cancel()
            with self.assertRaises(CancelledError):
                await listener.done


class SecretTests(OpenAITestCase):
    """The key and what was said are nobody else's (trap 20)."""

    async def test_nothingShows(self) -> None:
        """Not in errors, not in the log, not in a repr."""
        shown = []
        for play in ("401", "400", "500", "error object", "garbage", "hang", "cut"):
            robot = self.robot(KEY)
            listener = Listener(robot, text=play)
            try:
                await listener.done
            except RobotError as error:
                shown += [str(error), repr(error), repr(robot), repr(vars(robot)["_settings"])]
        text = "".join(shown + self.logged)
        self.assertNotIn(KEY, text)
        self.assertNotIn("your prompt", text)


class MakerTests(SynchronousTestCase):
    """What an operator writes."""

    def make(self, **options: str) -> OpenAIRobot:
        given: Mapping[str, str] = {name.replace("_", "-"): value for name, value in options.items()}
        return cast(OpenAIRobot, OpenAIMaker().makeRobot(reactor, given, None))

    def test_interface(self) -> None:
        """It is a robot, and so is its maker."""
        verifyObject(IRobotMaker, OpenAIMaker())
        verifyObject(IRobot, self.make())

    def test_wrong(self) -> None:
        """Each value that makes no sense gets one line that names its option."""
        for option, value in (
            ("url", "localhost:11434"),
            ("url", "ftp://localhost"),
            ("url", "http://user:password@localhost"),
            ("temperature", "warm"),
            ("temperature", "3"),
            ("max_tokens", "0"),
            ("max_tokens", "many"),
            ("first_timeout", "0"),
            ("timeout", "nan"),
            ("stream", "maybe"),
            ("system_file", "/nonexistent"),
        ):
            error = self.assertRaises(ConfigurationError, self.make, **{option: value})
            self.assertIn(value if option == "system_file" else option.replace("_", "-"), str(error))
            self.assertNotIn("password", str(error))
        self.assertRaises(ConfigurationError, self.make, system="a", system_file="b")

    def test_systemFile(self) -> None:
        """What the model is told may stand in a file, in UTF-8."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("简短。\n")
        self.assertEqual(self.make(system_file=path)._settings.system, "简短。")
        with open(path, "wb") as binary:
            binary.write(b"a\n\xff")
        self.assertIn(":2:", str(self.assertRaises(ConfigurationError, self.make, system_file=path)))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "index", "finish_reason", "error", "data", "id", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class AnyAnswerTests(SynchronousTestCase):
    """Whatever a server sends."""

    @settings(max_examples=2000, deadline=None)
    @given(ANYTHING.map(json.dumps) | st.text() | st.binary())
    def test_anyAnswer(self, answer: str | bytes) -> None:
        """It is a piece of a reply, or a RobotError; nothing else comes out."""
        try:
            delta = parse(answer)
            self.assertIsInstance(delta.text, str)
        except RobotError:
            pass
        body = answer if isinstance(answer, bytes) else answer.encode(errors="replace")
        error_in(body)
        try:
            for name in models_in(body):
                self.assertTrue(name.isprintable())
        except RobotError:
            pass

    @settings(max_examples=500, deadline=None)
    @given(st.lists(st.sampled_from(["<", "think", ">", "</", "think>", "<think>", "</think>", " ", "\n", "a"])))
    def test_anyThoughts(self, pieces: list[str]) -> None:
        """What is said does not depend on where the text was cut."""

        def said(parts: list[str]) -> str:
            thoughts = Thoughts()
            return "".join([thoughts.feed(part) for part in parts] + [thoughts.end()])

        text = "".join(pieces)
        self.assertEqual(said(pieces), said([text]))
        self.assertEqual(said(list(text)), said([text]))

    @settings(max_examples=500, deadline=None)
    @given(st.text(alphabet="a你😀"), st.integers(1, 3))
    def test_anySurrogates(self, text: str, size: int) -> None:
        """Characters come together again, wherever their halves were."""
        halves = text.encode("utf-16-le").decode("utf-16-le", "surrogatepass")
        units = [
            halves.encode("utf-16-le", "surrogatepass")[i : i + 2]
            for i in range(0, 2 * len(text.encode("utf-16-le")) // 2, 2)
        ]
        pieces = [
            "".join(unit.decode("utf-16-le", "surrogatepass") for unit in units[i : i + size])
            for i in range(0, len(units), size)
        ]
        joiner = Joiner()
        self.assertEqual("".join(joiner.feed(piece) for piece in pieces), text)
