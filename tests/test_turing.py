"""The Turing robot against a server that speaks its API, over real sockets."""

import json
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import Conversation, IRobot, Speaker, Turn, make_robot
from securechat.robots.turing import TuringRobot
from securechat.robots.turing_messages import ERRORS, encrypted, parse_answer, request
from tests.turing_peer import KEY, PATH, SECRET, TuringPeer

USER_ID = "a" * 32


def conversation(text: str) -> Conversation:
    return Conversation(USER_ID, [Turn(Speaker.USER, text)])


async def say(robot: IRobot, text: str) -> str:
    return "".join([chunk async for chunk in robot.reply(conversation(text))])


class TuringTestCase(TestCase):
    """A peer on a real port, and a robot that asks it."""

    def setUp(self) -> None:
        self.robots: list[TuringRobot] = []
        self.start()

    def start(self, **options: Any) -> None:
        self.peer = TuringPeer(reactor, **options)
        port = cast(Any, reactor).listenTCP(0, Site(self.peer), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}{PATH}"
        self.robot = self.make()

    def make(self, **options: Any) -> TuringRobot:
        robot = TuringRobot(reactor, options.pop("key", KEY), **{"url": self.url, "timeout": 5.0, **options})
        self.addCleanup(robot.close)
        return robot

    async def assertFault(self, fault: Fault, text: str, robot: TuringRobot | None = None) -> str:
        with self.assertRaises(RobotError) as caught:
            await say(robot or self.robot, text)
        self.assertEqual(caught.exception.fault, fault)
        self.assertNotIn(KEY, str(caught.exception))
        return str(caught.exception)


class AnswerTests(TuringTestCase):
    """What the service answers becomes readable lines."""

    async def test_asksAsTheServiceWants(self) -> None:
        """The request has the text, the place, the key and the user's pseudonym."""
        self.assertEqual(await say(self.robot, "附近的酒店"), "附近的酒店")
        self.assertEqual(
            self.peer.asked,
            [
                {
                    "reqType": 0,
                    "perception": {
                        "inputText": {"text": "附近的酒店"},
                        "selfInfo": {"location": {"city": "武汉", "province": "湖北"}},
                    },
                    "userInfo": {"apiKey": KEY, "userId": USER_ID},
                }
            ],
        )

    async def test_linkBeforeText(self) -> None:
        """A link that comes first does not hide the text: the text is shown first, then the link."""
        self.assertEqual(await say(self.robot, "links"), "亲,已帮你找到相关酒店信息\nhttp://m.example/hotels")

    async def test_news(self) -> None:
        """News become a line each, with their addresses."""
        self.assertEqual(await say(self.robot, "news"), "• One – of today\n  http://news.example/1\n• Two")

    async def test_weather(self) -> None:
        """Code 0 with results is an answer."""
        self.assertEqual(await say(self.robot, "weather"), "晴")

    async def test_nothingFound(self) -> None:
        """No result is said in words, not as an error."""
        for text in ("5000", "6000", "empty"):
            self.assertEqual(await say(self.robot, text), "I found nothing on that.")

    async def test_tooLongOrEmpty(self) -> None:
        """What the API would refuse is not sent, and answered in words."""
        self.assertIn("at most 128 characters", await say(self.robot, "长" * 129))
        self.assertEqual(await say(self.robot, " \n"), "You said nothing.")
        self.assertEqual(self.peer.asked, [])
        self.assertEqual(await say(self.robot, "长" * 128), "长" * 128)

    async def test_encrypted(self) -> None:
        """With a secret the request is encrypted as the service wants it."""
        self.start(with_secret=True)
        self.assertEqual(await say(self.make(secret=SECRET), "你好"), "你好")
        await self.assertFault(Fault.REFUSED, "你好")

    async def test_keepsItsConnection(self) -> None:
        """Ten questions go over one connection."""
        site = cast(Any, self.peer)
        channels: set[int] = set()
        original = site.render_POST

        def render(request: Any) -> Any:
            channels.add(request.client.port)
            return original(request)

        site.render_POST = render
        for _ in range(10):
            await say(self.robot, "x")
        self.assertEqual(len(channels), 1)


class FaultTests(TuringTestCase):
    """Everything else becomes a fault that the user understands."""

    async def test_everyErrorCode(self) -> None:
        """A code decides, with a text beside it or without."""
        for errors_have_text in (True, False):
            self.start(errors_have_text=errors_have_text)
            for code, (fault, meaning) in ERRORS.items():
                if code != 8008:
                    self.assertIn(meaning, await self.assertFault(fault, str(code)))
            await self.assertFault(Fault.BROKEN_ANSWER, "4999")

    async def test_wrongKey(self) -> None:
        """A key that is not valid is refused, and not shown."""
        await self.assertFault(Fault.REFUSED, "x", self.make(key="1" * 32))

    async def test_serviceErrorIsTriedOnceMore(self) -> None:
        """The service's own error may pass: it is asked once more, and not twice."""
        self.assertEqual(await say(self.robot, "once"), "better now")
        await self.assertFault(Fault.BROKEN_ANSWER, "8008")
        self.assertEqual(len(self.peer.asked), 4)

    async def test_freshUserId(self) -> None:
        """A user id that is not taken is replaced once."""
        await self.assertFault(Fault.REFUSED, "4100")
        first, second = (asked["userInfo"]["userId"] for asked in self.peer.asked)
        self.assertEqual(first, USER_ID)
        self.assertNotEqual(second, USER_ID)

    async def test_brokenAnswers(self) -> None:
        """What is cut, reset, too large, no JSON, or has another status is a broken answer; then all is well again."""
        for text in ("broken", "cut", "reset", "huge", "html", "status", "redirect"):
            await self.assertFault(Fault.BROKEN_ANSWER, text)
        self.assertEqual(await say(self.robot, "still there?"), "still there?")

    async def test_slow(self) -> None:
        """An answer that comes in time is an answer, however slow; one that does not is a fault."""
        self.assertEqual(await say(self.robot, "slow"), "at last")
        impatient = self.make(timeout=0.1)
        await self.assertFault(Fault.TIMED_OUT, "slow", impatient)
        await self.assertFault(Fault.TIMED_OUT, "hang", impatient)

    async def test_unreachable(self) -> None:
        """A port where nobody listens, and a name that does not exist."""
        port = cast(Any, reactor).listenTCP(0, Site(self.peer), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await port.stopListening()
        await self.assertFault(Fault.UNREACHABLE, "x", self.make(url=url))
        await self.assertFault(Fault.UNREACHABLE, "x", self.make(url="http://name.invalid/"))

    async def test_cancel(self) -> None:
        """A reply that is cancelled hangs up at once."""
        asking = Deferred.fromCoroutine(say(self.robot, "hang"))
        while not self.peer.asked:
            await deferLater(cast(Any, reactor), 0.01)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        await deferLater(cast(Any, reactor), 0.1)
        self.assertEqual(self.peer.lost, 1)


class ParseTests(SynchronousTestCase):
    """The answers' text, without a server."""

    def test_everyResultType(self) -> None:
        """Every type has its line, in the order of the groups, each group's text first; the unknown is passed over."""
        body = b"""{"intent": {"code": "10004"}, "results": [
            {"groupType": 2, "resultType": "image", "values": {"image": "//i.example/a.png"}},
            {"groupType": 0, "resultType": "text", "values": {"text": "alone"}},
            {"groupType": 2, "resultType": "text", "values": {"text": "with a picture"}},
            {"groupType": 0, "resultType": "voice", "values": {"voice": "http://v.example"}},
            {"groupType": 0, "resultType": "video", "values": {"video": "http://w.example"}},
            {"groupType": 0, "resultType": "number", "values": {"number": 7}},
            {"groupType": 0, "resultType": "news", "values": {"news": ["?", {"icon": "x"}]}},
            {"groupType": 0, "resultType": "text", "values": {}},
            {"groupType": 0, "resultType": "url", "values": {"url": null}},
            {"groupType": 0}]}"""
        self.assertEqual(
            parse_answer(b"\xef\xbb\xbf" + body).text,
            "with a picture\nhttp://i.example/a.png\nalone\nhttp://v.example\nhttp://w.example\n7",
        )

    def test_encryption(self) -> None:
        """The worked example: secret, key and time give these bytes."""
        body = (
            '{"reqType":0,"perception":{"inputText":{"text":"你好"}},'
            '"userInfo":{"apiKey":"00000000000000000000000000000000","userId":"443545"}}'
        ).encode()
        self.assertIn(
            b"PUN9tKegWKZKPUDQaHQmr0WydnCozR3uVT8A6MJsd6ag11XwXYsKUMyaX36awlOkwsUMLOO0JIS40ZRvHpNuu7920cfc2yJe"
            b"qaQukbPrxVDDzApuus16MktCtKqFD37JpEIFITvXt8TbIfNC/ARqC53Vg2Vc79cSofdPWiIv0GZaGmMbpJMHpoFJvLsIhlOj",
            encrypted(body, KEY, SECRET, 1700000000000),
        )

    @settings(max_examples=2000, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=300),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                lambda inner: (
                    st.lists(inner, max_size=4)
                    | st.dictionaries(
                        st.sampled_from(["intent", "code", "results", "values", "resultType", "text", "news", "url"]),
                        inner,
                        max_size=5,
                    )
                ),
            ).map(lambda value: json.dumps(value).encode()),
        )
    )
    def test_anyBody(self, body: bytes) -> None:
        """Any body is an answer or a broken one."""
        try:
            answer = parse_answer(body)
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        else:
            self.assertIsInstance(answer.text, str)


class OptionTests(SynchronousTestCase):
    """How an operator configures it."""

    def setUp(self) -> None:
        self.logged: list[Any] = []
        observer = cast(Any, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self, *options: str, **environ: str) -> TuringRobot:
        return cast(TuringRobot, make_robot(reactor, "turing", options, environ))

    def assertRefused(self, words: str, *options: str, **environ: str) -> None:
        error = self.assertRaises(ConfigurationError, self.make, *options, **environ)
        self.assertIn(words, str(error))
        self.assertNotIn(KEY, str(error))

    def file(self, text: str, mode: int = 0o600) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def test_key(self) -> None:
        """The key comes from a file or the environment, never from the command line; it is not shown."""
        from_file = self.make("key-file=" + self.file(KEY + "\n"))
        from_environment = self.make(SECURECHAT_ROBOT_KEY=KEY)
        for robot in (from_file, from_environment):
            self.assertEqual(robot._api_key, KEY)
            self.assertNotIn(KEY, repr(robot))
        self.assertRefused("needs a key")
        self.assertRefused("key-file=FILE", f"key={KEY}")
        self.assertRefused("chmod 600", "key-file=" + self.file(KEY, 0o644))
        self.assertRefused("No such file", "key-file=/nonexistent")
        self.assertRefused("one line", "key-file=" + self.file(""))
        self.assertRefused("one line", "key-file=" + self.file("两"))

    def test_otherOptions(self) -> None:
        """Everything that can be chosen arrives, and what is wrong is said."""
        robot = self.make(
            "url=https://turing.example/v2",
            "city=北京",
            "province=北京",
            "timeout=3.5",
            "secret-file=" + self.file(SECRET),
            SECURECHAT_ROBOT_KEY=KEY,
        )
        self.assertEqual(
            (robot._url, robot._city, robot._province, robot._timeout, robot._secret),
            ("https://turing.example/v2", "北京", "北京", 3.5, SECRET),
        )
        for wrong in ("url=ftp://x", "url=http://", "url=http://[", "url=http://h:0/", "timeout=soon", "timeout=0"):
            self.assertRefused(wrong, wrong, SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("write it as city=VALUE", "city", SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("no option colour", "colour=red", SECURECHAT_ROBOT_KEY=KEY)

    def test_warnsOfPlainHttp(self) -> None:
        """The operator hears at start that the way to the service is open; not so for HTTPS or this machine."""

        def warnings() -> list[str]:
            return [event["log_format"] for event in self.logged if "plain HTTP" in event["log_format"]]

        self.make("url=https://turing.example/", SECURECHAT_ROBOT_KEY=KEY)
        self.make("url=http://127.0.0.1:8081/", SECURECHAT_ROBOT_KEY=KEY)
        self.assertEqual(len(warnings()), 0)
        self.make(SECURECHAT_ROBOT_KEY=KEY)
        self.assertEqual(len(warnings()), 1)

    def test_theSeedsRequest(self) -> None:
        """What is sent has no more than what the service documents."""
        self.assertEqual(
            request("x", "k", "u", "c", "p"),
            b'{"reqType":0,"perception":{"inputText":{"text":"x"},"selfInfo":{"location":{"city":"c","province":"p"}}},'
            b'"userInfo":{"apiKey":"k","userId":"u"}}',
        )
