"""The Turing robot against a server that speaks its API, over real sockets."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site
from zope.interface import implementer

from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot
from securechat.robots.registry import make_robot
from securechat.robots.turing import robot as turing
from securechat.robots.turing.messages import ERRORS, Place, TuringError, encrypted, parse_answer, request
from securechat.robots.turing.robot import TuringRobot, until_midnight
from securechat.robots.turing.settings import TuringSettings
from tests.harness.turing_peer import KEY, PATH, SECRET, TuringPeer

USER_ID = "a" * 32
SERVICE_HOSTS = ("openapi.tuling123.com", "openapi.turingapi.com")  # the documented ones, of which the second is newer
NOON_IN_CHINA = 1700020800.0  # on 15 November 2023, in seconds since 1970

# Every code of the service's documentation, what the user hears, and a part of what the operator reads.
CODES = [
    (4000, Fault.INTERNAL, "code 4000: the request was not understood"),
    (4001, Fault.REFUSED, "code 4001: the encryption does not fit: compare the secret"),
    (4002, Fault.REFUSED, "code 4002: the key may not use this function"),
    (4003, Fault.BUSY, "code 4003: no calls are left for today"),
    (4005, Fault.REFUSED, "code 4005: the key may not use this interface"),
    (4007, Fault.REFUSED, "code 4007: the API key is not valid"),
    (4100, Fault.REFUSED, "code 4100: the service took neither of two user ids"),
    (4200, Fault.INTERNAL, "code 4200: an upload's format is wrong"),
    (4300, Fault.BUSY, "code 4300: too many requests at once"),
    (4400, Fault.REFUSED, "code 4400: the service found neither of two user ids legal"),
    (4500, Fault.REFUSED, "code 4500: the key has too many users"),
    (4600, Fault.INTERNAL, "code 4600: the input is empty"),
    (4602, Fault.TOO_LONG, "code 4602: the text is too long"),
    (7002, Fault.INTERNAL, "code 7002: an upload failed"),
    (8008, Fault.BROKEN_ANSWER, "code 8008: the service had an error of its own, twice"),
    (4999, Fault.BROKEN_ANSWER, "code 4999: an unknown code"),
    (0, Fault.BROKEN_ANSWER, "code 0: an unknown code"),  # without results; "upload success", but nothing was uploaded
]
ASKED_TWICE = {4100, 4400, 8008}


async def say(robot: IRobot, text: str, user_id: str = USER_ID) -> str:
    conversation = Conversation(user_id, [Turn(Speaker.USER, text)])
    return "".join([chunk async for chunk in robot.reply(conversation)])


@implementer(IHostnameResolver)
class EveryHostIsThisOne:
    """A resolver that finds all names here."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        found = cast(IHostResolution, object())  # nobody cancels what is over at once
        resolutionReceiver.resolutionBegan(found)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return found


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

    def make(
        self,
        key: str = KEY,
        *,
        secret: str | None = None,
        wall_clock: Callable[[], float] = time.time,
        **settings: Any,
    ) -> TuringRobot:
        given = TuringSettings(**{"url": self.url, "timeout": 5.0, **settings})
        robot = TuringRobot(reactor, given, key, secret=secret, wall_clock=wall_clock)
        self.addCleanup(robot.close)
        return robot

    async def assertFault(self, fault: Fault, text: str, robot: TuringRobot | None = None) -> RobotError:
        with self.assertRaises(RobotError) as caught:
            await say(robot or self.robot, text)
        self.assertEqual(caught.exception.fault, fault)
        self.assertNotIn(KEY, str(caught.exception))
        error: RobotError = caught.exception
        return error


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

    async def test_byteOrderMark(self) -> None:
        """An answer that begins with a byte order mark is read like any other."""
        self.assertEqual(await say(self.robot, "bom"), "marked")

    async def test_bothServices(self) -> None:
        """Each of the service's documented hosts is asked by its own name."""
        theirs = cast(Any, reactor).installNameResolver(EveryHostIsThisOne())
        self.addCleanup(cast(Any, reactor).installNameResolver, theirs)
        for host in SERVICE_HOSTS:
            robot = self.make(url=self.url.replace("127.0.0.1", host))
            self.assertEqual(await say(robot, "你好"), "你好")
        self.assertEqual(self.peer.hosts, list(SERVICE_HOSTS))

    async def test_whereAndWithWhom(self) -> None:
        """A place is sent with all that is known of it, or not at all without a city; and so is the group."""
        await say(self.make(city="北京", street="长安街", group="class 3"), "x")
        await say(self.make(city="", province="湖北", street="长江路"), "x")
        with_place, without = self.peer.asked
        self.assertEqual(with_place["perception"]["selfInfo"], {"location": {"city": "北京", "street": "长安街"}})
        self.assertEqual(with_place["userInfo"], {"apiKey": KEY, "userId": USER_ID, "groupId": "class 3"})
        self.assertEqual(without["perception"], {"inputText": {"text": "x"}})
        self.assertEqual(without["userInfo"], {"apiKey": KEY, "userId": USER_ID})

    async def test_everyoneHasAnIdOfTheirOwn(self) -> None:
        """The service, which keeps the context by user id, never takes one person for another."""
        users = [format(number, "032x") for number in range(3)]
        for user in (*users, *users):
            await say(self.robot, "x", user)
            with self.assertRaises(RobotError):
                await say(self.robot, "4400", user)
        asked: dict[str, set[str]] = {"x": set(), "4400": set()}
        for question in self.peer.asked:
            asked[question["perception"]["inputText"]["text"]].add(question["userInfo"]["userId"])
        self.assertEqual(asked["x"], set(users))
        self.assertEqual(len(asked["4400"]), 2 * len(users))  # a second one each, the same in both rounds

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
        for robot in (self.robot, self.make(secret="x"), self.make(secret=SECRET, wall_clock=lambda: NOON_IN_CHINA)):
            self.assertIn("the encryption does not fit", str(await self.assertFault(Fault.REFUSED, "你好", robot)))
        self.assertEqual(len(self.peer.asked), 1)

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
        """A code decides, with a text beside it or without; only those that may pass are asked about again."""
        self.patch(turing, "BACK_OFF", 0.0)
        for errors_have_text in (True, False):
            self.start(errors_have_text=errors_have_text)
            for code, fault, detail in CODES:
                if code == 0 and errors_have_text:
                    continue  # that is an answer
                self.peer.asked.clear()
                error = await self.assertFault(fault, str(code))
                self.assertIn(detail, str(error))
                self.assertEqual(len(self.peer.asked), 2 if code in ASKED_TWICE else 1, code)

    def test_allCodesAreTested(self) -> None:
        """The table of these tests has what the robot's has."""
        self.assertEqual(set(ERRORS), {code for code, _fault, _detail in CODES} - {0, 4999})

    async def test_whenToAskAgain(self) -> None:
        """A quota that is used up is one until the next day begins in China; too many requests are over soon."""
        robot = self.make(wall_clock=lambda: NOON_IN_CHINA)
        self.assertEqual((await self.assertFault(Fault.BUSY, "4003", robot)).retry_after, 12 * 3600)
        self.assertEqual((await self.assertFault(Fault.BUSY, "4300", robot)).retry_after, 10)
        self.assertIsNone((await self.assertFault(Fault.REFUSED, "4007", robot)).retry_after)

    def test_midnightInChina(self) -> None:
        """From one midnight to the next it is a whole day; a second before, a second; the day is not that of UTC."""
        midnight = 1700064000.0  # 00:00 on 16 November 2023 in China, 16:00 the day before in UTC
        self.assertEqual(until_midnight(midnight), 24 * 3600)
        self.assertEqual(until_midnight(midnight - 1), 1)
        self.assertEqual(until_midnight(midnight + 8 * 3600), 16 * 3600)

    async def test_wrongKey(self) -> None:
        """A key that is not valid is refused, and not shown."""
        await self.assertFault(Fault.REFUSED, "x", self.make(key="1" * 32))

    async def test_serviceErrorIsTriedOnceMore(self) -> None:
        """The service's own error may pass: it is asked once more, and not twice."""
        self.assertEqual(await say(self.robot, "once"), "better now")
        await self.assertFault(Fault.BROKEN_ANSWER, "8008")
        self.assertEqual(len(self.peer.asked), 4)

    async def test_anotherUserId(self) -> None:
        """A user id that is not taken is replaced once, always by the same: the context goes on."""
        for _ in range(2):
            self.assertEqual(await say(self.robot, "new user"), "nice to meet you")
        first, second, third, fourth = (asked["userInfo"]["userId"] for asked in self.peer.asked)
        self.assertEqual((first, second), (third, fourth))
        self.assertEqual(first, USER_ID)
        self.assertRegex(second, "^[0-9a-f]{32}$")
        self.assertNotEqual(second, USER_ID)

    async def test_cancelBeforeTheRetry(self) -> None:
        """A reply that is cancelled while it waits for its second chance does not take it."""
        asking = Deferred.fromCoroutine(say(self.robot, "8008"))
        while not self.peer.asked:
            await deferLater(cast(Any, reactor), 0.01)
        await deferLater(cast(Any, reactor), 0.1)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        self.assertEqual(len(self.peer.asked), 1)

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


NAMES = ["intent", "code", "results", "values", "groupType", "resultType", "text", "news", "url", "name", "detailurl"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(NAMES)
    | st.text(max_size=9)
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
)


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
            {"groupType": 0, "resultType": "news", "values": {"news": ["?", {"icon": "//x"}, {"info": 3}]}},
            {"groupType": 0, "resultType": "text", "values": {}},
            {"groupType": 0, "resultType": "url", "values": {"url": null}},
            {"groupType": 0}]}"""
        self.assertEqual(
            parse_answer(body),
            "with a picture\nhttp://i.example/a.png\nalone\nhttp://v.example\nhttp://w.example\n7\n  http://x\n• 3",
        )

    def test_resultsOfAnyShape(self) -> None:
        """What makes no sense is passed over, and does not spoil what does."""
        good = {"groupType": "1", "resultType": "text", "values": {"text": "好"}}
        shapes: list[Any] = [
            None,
            "text",
            [],
            {},
            {"values": None},
            {"resultType": "text"},
            {"resultType": "text", "values": None},
            {"resultType": "text", "values": {"url": "x"}},
            {"resultType": "text", "values": {"text": {"a": 1}}},
            {"resultType": "text", "values": {"text": True}},
            {"resultType": ["text"], "values": {"text": "x"}},
            {"groupType": {}, "resultType": "news", "values": {"news": [None, 1, {"name": None, "detailurl": []}]}},
            {"groupType": 1, "resultType": "news", "values": []},
        ]
        for bad in shapes:
            body = json.dumps({"intent": {"code": 10004}, "results": [bad, good]}).encode()
            self.assertEqual(parse_answer(body), "好", bad)
        loose = json.dumps({"intent": {"code": 10004}, "results": [{"resultType": "text", "values": "好"}]})
        self.assertEqual(parse_answer(loose.encode()), "好")
        nothing: list[Any] = [None, {}, "x", 3]
        for results in nothing:
            body = json.dumps({"intent": {"code": 10004}, "results": results}).encode()
            self.assertEqual(parse_answer(body), "I found nothing on that.")

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
    @given(st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
    def test_anyBody(self, body: bytes) -> None:
        """Any body is an answer, one of the service's errors, or a broken answer."""
        try:
            self.assertTrue(parse_answer(body))
        except TuringError as error:
            self.assertEqual(error.fault, ERRORS.get(error.code, (Fault.BROKEN_ANSWER, ""))[0])
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)

    @settings(max_examples=2000, deadline=None)
    @given(results=ANYTHING)
    def test_anyResults(self, results: object) -> None:
        """Whatever the results of a successful answer are, there is something to show."""
        body = json.dumps({"intent": {"code": 10004}, "results": results}).encode()
        self.assertTrue(parse_answer(body).strip())


class OptionTests(SynchronousTestCase):
    """How an operator configures it."""

    def setUp(self) -> None:
        self.logged: list[Any] = []
        observer = cast(Any, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self, *options: str, **environ: str) -> TuringRobot:
        guarded = cast(GuardedRobot, make_robot(reactor, "turing", options, environ))
        return cast(TuringRobot, guarded._robot)

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
            "street=长安街",
            "group=class 3",
            "timeout=3.5",
            "secret-file=" + self.file(SECRET),
            SECURECHAT_ROBOT_KEY=KEY,
        )
        self.assertEqual(
            (robot._url, robot._place, robot._group, robot._timeout, robot._secret),
            ("https://turing.example/v2", Place("北京", "北京", "长安街"), "class 3", 3.5, SECRET),
        )
        for wrong in ("url=ftp://x", "url=http://", "url=http://[", "url=http://h:0/", "url=http://me:secret@h/"):
            self.assertRefused("-R url=…: expected a URL such as", wrong, SECURECHAT_ROBOT_KEY=KEY)
        for wrong in ("timeout=soon", "timeout=0", "timeout=nan"):
            self.assertRefused(wrong, wrong, SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("at most 64 characters", "group=" + "x" * 65, SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("need a city", "city=", "street=长安街", SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("NAME=VALUE", "city", SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("no option colour", "colour=red", SECURECHAT_ROBOT_KEY=KEY)

    def test_places(self) -> None:
        """As in the beginning questions come from Wuhan; another city has not its province, and no city is no place."""
        for options, place in (
            ((), Place("武汉", "湖北")),
            (("city=武汉", "province="), Place("武汉")),
            (("city=北京",), Place("北京")),
            (("street=长江路",), Place("武汉", "湖北", "长江路")),
            (("city=",), Place()),
        ):
            self.assertEqual(self.make(*options, SECURECHAT_ROBOT_KEY=KEY)._place, place)

    def test_warnsOfPlainHttp(self) -> None:
        """The operator hears at start that the way to the service is open; not so for HTTPS or this machine."""

        def warnings() -> list[str]:
            return [event["log_format"] for event in self.logged if "not encrypted" in event["log_format"]]

        self.make("url=https://turing.example/", SECURECHAT_ROBOT_KEY=KEY)
        self.make("url=http://127.0.0.1:8081/", SECURECHAT_ROBOT_KEY=KEY)
        self.assertEqual(len(warnings()), 0)
        for number, host in enumerate(SERVICE_HOSTS, 1):
            self.make(f"url=http://{host}{PATH}", SECURECHAT_ROBOT_KEY=KEY)
            self.assertEqual(len(warnings()), number)

    def test_theSeedsRequest(self) -> None:
        """What is sent has no more than what the service documents."""
        self.assertEqual(
            request("x", "k", "u", Place("c", "p")),
            b'{"reqType":0,"perception":{"inputText":{"text":"x"},"selfInfo":{"location":{"city":"c","province":"p"}}},'
            b'"userInfo":{"apiKey":"k","userId":"u"}}',
        )
