"""The Turing robot, with a peer that implements its API, over real sockets."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site
from zope.interface import implementer

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots.guard import GuardedRobot
from securechat.robots.http import endpoint
from securechat.robots.interface import IRobot
from securechat.robots.registry import make_robot
from securechat.robots.turing import robot as turing
from securechat.robots.turing.messages import ERRORS, Place, parse_answer, request
from securechat.robots.turing.robot import TuringRobot, until_midnight
from securechat.robots.turing.settings import TuringSettings
from tests.harness.http import until
from tests.harness.turing_peer import KEY, PATH, SECRET, TuringPeer

reactor: Any = installed

USER_ID = "a" * 32
SERVICE_HOSTS = ("openapi.tuling123.com", "openapi.turingapi.com")  # the documented ones; the second is newer
NOON_IN_CHINA = 1700020800.0  # 15 November 2023, Unix time

# Every documented code, its fault, and a part of the text for the operator.
CODES = [
    (4000, Fault.INTERNAL, "code 4000: malformed request"),
    (4001, Fault.REFUSED, "code 4001: encryption error; check the secret"),
    (4002, Fault.REFUSED, "code 4002: no permission for this function"),
    (4003, Fault.BUSY, "code 4003: the daily quota is used up"),
    (4005, Fault.REFUSED, "code 4005: no permission for this API"),
    (4007, Fault.REFUSED, "code 4007: invalid API key"),
    (4100, Fault.REFUSED, "code 4100: the service accepted neither of two user ids"),
    (4200, Fault.INTERNAL, "code 4200: wrong format of an upload"),
    (4300, Fault.BUSY, "code 4300: too many requests"),
    (4400, Fault.REFUSED, "code 4400: the service rejected two user ids as illegal"),
    (4500, Fault.REFUSED, "code 4500: too many users for this key"),
    (4600, Fault.INTERNAL, "code 4600: empty message"),
    (4602, Fault.TOO_LONG, "code 4602: the message is too long"),
    (7002, Fault.INTERNAL, "code 7002: failed upload"),
    (8008, Fault.BROKEN_ANSWER, "code 8008: internal error of the service, twice"),
    (4999, Fault.BROKEN_ANSWER, "code 4999: unknown code"),
    (0, Fault.BROKEN_ANSWER, "code 0: unknown code"),  # without results: "upload success"
]
RETRIED = {4100, 4400, 8008}


async def say(robot: IRobot, text: str, user_id: str = USER_ID) -> str:
    conversation = Conversation(user_id, [Turn(Speaker.USER, text)])
    return "".join([chunk async for chunk in robot.reply(conversation)])


@implementer(IHostnameResolver)
class EveryHostIsThisOne:
    """Resolves all names to this machine."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        found = cast(IHostResolution, object())  # it is never cancelled
        resolutionReceiver.resolutionBegan(found)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return found


class TuringTestCase(TestCase):
    """A peer on a real port, and a robot that uses it."""

    def setUp(self) -> None:
        self.robots: list[TuringRobot] = []
        self.start()

    def start(self, **options: Any) -> None:
        self.peer = TuringPeer(reactor, **options)
        port = reactor.listenTCP(0, Site(self.peer), interface="127.0.0.1")
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
        given = TuringSettings(**{"url": self.url, "timeout": 20.0, **settings})
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


def _padded(body: bytes, size: int, _request: object) -> bytes:
    return body.ljust(size)


class AnswerTests(TuringTestCase):
    """Requests, and the text of replies."""

    async def test_request(self) -> None:
        """A request contains the text, the location, the key and the user's pseudonym."""
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

    async def test_headers(self) -> None:
        """A request says that it is JSON, accepts no compression, and has no cookie."""
        seen: list[Any] = []
        render = self.peer.render_POST

        def note(request: Any) -> Any:
            seen.append(request.requestHeaders)
            return render(request)

        cast(Any, self.peer).render_POST = note
        await say(self.robot, " x\n")
        [headers] = seen
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/json; charset=UTF-8"])
        self.assertFalse(headers.hasHeader("accept-encoding") or headers.hasHeader("cookie"))
        self.assertEqual(self.peer.asked[0]["perception"]["inputText"], {"text": "x"})

    async def test_linkBeforeText(self) -> None:
        """If a link comes before its text, the text is shown first."""
        self.assertEqual(await say(self.robot, "links"), "亲,已帮你找到相关酒店信息\nhttp://m.example/hotels")

    async def test_news(self) -> None:
        """News are shown as a list with addresses."""
        self.assertEqual(await say(self.robot, "news"), "• One – of today\n  http://news.example/1\n• Two")

    async def test_byteOrderMark(self) -> None:
        """A byte order mark before a response is ignored."""
        self.assertEqual(await say(self.robot, "bom"), "marked")

    async def test_bothServices(self) -> None:
        """Requests to each of the documented hosts have its name in the Host header."""
        theirs = reactor.installNameResolver(EveryHostIsThisOne())
        self.addCleanup(reactor.installNameResolver, theirs)
        for host in SERVICE_HOSTS:
            robot = self.make(url=self.url.replace("127.0.0.1", host))
            self.assertEqual(await say(robot, "你好"), "你好")
        self.assertEqual(self.peer.hosts, list(SERVICE_HOSTS))

    async def test_locationAndGroup(self) -> None:
        """The location is sent as far as it is set, but not without a city; the group is sent if it is set."""
        await say(self.make(city="北京", street="长安街", group="class 3"), "x")
        await say(self.make(city="", province="湖北", street="长江路"), "x")
        with_place, without = self.peer.asked
        self.assertEqual(with_place["perception"]["selfInfo"], {"location": {"city": "北京", "street": "长安街"}})
        self.assertEqual(with_place["userInfo"], {"apiKey": KEY, "userId": USER_ID, "groupId": "class 3"})
        self.assertEqual(without["perception"], {"inputText": {"text": "x"}})
        self.assertEqual(without["userInfo"], {"apiKey": KEY, "userId": USER_ID})

    async def test_userIds(self) -> None:
        """Users have different ids, by which the service keeps their context."""
        users = [format(number, "032x") for number in range(3)]
        for user in (*users, *users):
            await say(self.robot, "x", user)
            with self.assertRaises(RobotError):
                await say(self.robot, "4400", user)
        asked: dict[str, set[str]] = {"x": set(), "4400": set()}
        for question in self.peer.asked:
            asked[question["perception"]["inputText"]["text"]].add(question["userInfo"]["userId"])
        self.assertEqual(asked["x"], set(users))
        self.assertEqual(len(asked["4400"]), 2 * len(users))  # one alternative each, the same in both rounds

    async def test_weather(self) -> None:
        """Code 0 with results is a success."""
        self.assertEqual(await say(self.robot, "weather"), "晴")

    async def test_nothingFound(self) -> None:
        """If there are no results, the reply says so."""
        for text in ("5000", "6000", "empty"):
            self.assertEqual(await say(self.robot, text), "I found no results.")
        for body in (b'{"intent": {"code": 5000}}', b'{"intent": {"code": 10004}, "results": []}'):
            self.assertIsInstance(parse_answer(body), Notice)  # which is not remembered, and lets another robot answer

    async def test_tooLongOrEmpty(self) -> None:
        """Messages that the API would reject are not sent, and the reply says why."""
        self.assertIn("at most 128 characters", await say(self.robot, "长" * 129))
        self.assertEqual(await say(self.robot, " \n"), "The message is empty.")
        self.assertEqual(self.peer.asked, [])
        self.assertEqual(await say(self.robot, "长" * 128), "长" * 128)

    async def test_encrypted(self) -> None:
        """With a secret, requests are encrypted."""
        self.start(with_secret=True)
        self.assertEqual(await say(self.make(secret=SECRET), "你好"), "你好")
        for robot in (self.robot, self.make(secret="x"), self.make(secret=SECRET, wall_clock=lambda: NOON_IN_CHINA)):
            self.assertIn("encryption error", str(await self.assertFault(Fault.REFUSED, "你好", robot)))
        self.assertEqual(len(self.peer.asked), 1)

    async def test_connectionIsKept(self) -> None:
        """Ten messages use one connection."""
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
    """Faults."""

    async def test_everyErrorCode(self) -> None:
        """Each error code has its fault, with or without a text; only some are retried."""
        self.patch(turing, "RETRY_DELAY", 0.0)
        for errors_have_text in (True, False):
            self.start(errors_have_text=errors_have_text)
            for code, fault, detail in CODES:
                if code == 0 and errors_have_text:
                    continue  # a success
                self.peer.asked.clear()
                error = await self.assertFault(fault, str(code))
                self.assertIn(detail, str(error))
                self.assertEqual(len(self.peer.asked), 2 if code in RETRIED else 1, code)

    def test_allCodesAreTested(self) -> None:
        """The tests cover all codes that the robot knows."""
        self.assertEqual(set(ERRORS), {code for code, _fault, _detail in CODES} - {0, 4999})

    async def test_retryAfter(self) -> None:
        """A used-up quota ends at midnight in China; after too many requests a short pause is enough."""
        robot = self.make(wall_clock=lambda: NOON_IN_CHINA)
        self.assertEqual((await self.assertFault(Fault.BUSY, "4003", robot)).retry_after, 12 * 3600)
        self.assertEqual((await self.assertFault(Fault.BUSY, "4300", robot)).retry_after, 10)
        self.assertIsNone((await self.assertFault(Fault.REFUSED, "4007", robot)).retry_after)

    def test_midnightInChina(self) -> None:
        """The time until midnight in China is between a second and a day, and does not depend on UTC's day."""
        midnight = 1700064000.0  # 00:00 on 16 November 2023 in China, 16:00 the day before in UTC
        self.assertEqual(until_midnight(midnight), 24 * 3600)
        self.assertEqual(until_midnight(midnight - 1), 1)
        self.assertEqual(until_midnight(midnight + 8 * 3600), 16 * 3600)

    async def test_wrongKey(self) -> None:
        """An invalid key is a refusal, and is not shown."""
        await self.assertFault(Fault.REFUSED, "x", self.make(key="1" * 32))

    async def test_internalErrorIsRetried(self) -> None:
        """After an internal error of the service, the request is repeated once."""
        self.patch(turing, "RETRY_DELAY", 0.0)
        self.assertEqual(await say(self.robot, "once"), "better now")
        await self.assertFault(Fault.BROKEN_ANSWER, "8008")
        self.assertEqual(len(self.peer.asked), 4)

    async def test_anotherUserId(self) -> None:
        """A rejected user id is replaced once, always by the same one, so that the service keeps the context."""
        for _ in range(2):
            self.assertEqual(await say(self.robot, "new user"), "nice to meet you")
        first, second, third, fourth = (asked["userInfo"]["userId"] for asked in self.peer.asked)
        self.assertEqual((first, second), (third, fourth))
        self.assertEqual(first, USER_ID)
        self.assertRegex(second, "^[0-9a-f]{32}$")
        self.assertNotEqual(second, USER_ID)

    async def test_cancelBeforeTheRetry(self) -> None:
        """A reply that is cancelled before its retry is not retried."""
        self.patch(turing, "RETRY_DELAY", 20.0)
        asking = Deferred.fromCoroutine(say(self.robot, "8008"))
        await until(lambda: self.peer.asked)
        await deferLater(reactor, 0.1)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        self.assertEqual(len(self.peer.asked), 1)

    async def test_brokenAnswers(self) -> None:
        """Truncated, too large and invalid responses, resets and other statuses are broken answers."""
        for text in ("broken", "cut", "reset", "huge", "html", "status", "redirect"):
            await self.assertFault(Fault.BROKEN_ANSWER, text)
        self.assertEqual(await say(self.robot, "still there?"), "still there?")

    async def test_longestResponse(self) -> None:
        """A response of a megabyte is read, and not a byte more."""
        for size, is_read in (1024 * 1024, True), (1024 * 1024 + 1, False):
            body = b'{"intent": {"code": 10004}, "results": [{"resultType": "text", "values": {"text": "good"}}]}'
            self.peer._special["sized"] = partial(_padded, body, size)
            if is_read:
                self.assertEqual(await say(self.robot, "sized"), "good")
            else:
                await self.assertFault(Fault.BROKEN_ANSWER, "sized")

    async def test_status(self) -> None:
        """Any status but 200 is a broken answer, whatever the response says."""
        for status in (201, 204, 302, 400, 404, 500, 503):

            def render(request: Any, status: int = status) -> bytes:
                request.setResponseCode(status)
                return b'{"intent": {"code": 10004}, "results": [{"resultType": "text", "values": {"text": "bad"}}]}'

            self.peer._special["status"] = render
            await self.assertFault(Fault.BROKEN_ANSWER, "status")

    async def test_retryWaits(self) -> None:
        """The second request, after an internal error of the service, is sent a second later."""
        started = reactor.seconds()
        self.assertEqual(await say(self.robot, "once"), "better now")
        self.assertGreater(reactor.seconds() - started, 0.9)

    async def test_cancelledIsClosed(self) -> None:
        """A reply that was given up has ended when its connection is closed, so it counts as concurrent until then."""
        asking = Deferred.fromCoroutine(say(self.robot, "hang"))
        await until(lambda: self.peer.asked)
        asking.cancel()
        self.assertNoResult(asking)
        with self.assertRaises(CancelledError):
            await asking

    async def test_close(self) -> None:
        """Closing the robot closes its connections."""
        await say(self.robot, "x")
        await self.robot.close()
        await say(self.make(), "y")
        self.assertEqual(cast(Any, self.robot._http)._pool._connections, {})

    async def test_slow(self) -> None:
        """A slow response is accepted until the timeout."""
        self.assertEqual(await say(self.robot, "slow"), "at last")
        robot = self.make(timeout=0.1)
        await self.assertFault(Fault.TIMED_OUT, "slow", robot)
        await self.assertFault(Fault.TIMED_OUT, "hang", robot)

    async def test_unreachable(self) -> None:
        """If no server listens, or its name does not exist, the robot is unreachable."""
        port = reactor.listenTCP(0, Site(self.peer), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await port.stopListening()
        self.patch(endpoint, "RETRY_DELAYS", ((0.01, 0.02),) * 2)
        await self.assertFault(Fault.UNREACHABLE, "x", self.make(url=url))
        await self.assertFault(Fault.UNREACHABLE, "x", self.make(url="http://name.invalid/"))

    async def test_cancel(self) -> None:
        """A reply that is cancelled closes its connection at once."""
        asking = Deferred.fromCoroutine(say(self.robot, "hang"))
        await until(lambda: self.peer.asked)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        await until(lambda: self.peer.lost)


class OptionTests(SynchronousTestCase):
    """The robot's options."""

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
        """The key comes from a file or the environment, not from the command line, and is not shown."""
        from_file = self.make("key-file=" + self.file(KEY + "\n"))
        from_environment = self.make(SECURECHAT_ROBOT_KEY=KEY)
        for robot in (from_file, from_environment):
            self.assertEqual(robot._api_key, KEY)
            self.assertNotIn(KEY, repr(robot))
        both = self.make("key-file=" + self.file(KEY), SECURECHAT_ROBOT_KEY="1" * 32)
        self.assertEqual(both._api_key, KEY)
        self.assertRefused("needs an API key")
        self.assertRefused("key-file=FILE", f"key={KEY}")
        self.assertRefused("chmod 600", "key-file=" + self.file(KEY, 0o644))
        self.assertRefused("No such file", "key-file=/nonexistent")
        self.assertRefused("one line", "key-file=" + self.file(""))
        self.assertRefused("one line", "key-file=" + self.file("两"))

    def test_otherOptions(self) -> None:
        """All options reach the robot, and errors name the option."""
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
        self.assertEqual(self.make("group=" + "x" * 64, SECURECHAT_ROBOT_KEY=KEY)._group, "x" * 64)
        for option in ("street=长安街", "province=北京"):
            self.assertRefused("require a city", "city=", option, SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("No such file", "secret-file=/nonexistent", SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("NAME=VALUE", "city", SECURECHAT_ROBOT_KEY=KEY)
        self.assertRefused("no option colour", "colour=red", SECURECHAT_ROBOT_KEY=KEY)

    def test_places(self) -> None:
        """The default city has a default province; other cities have none; without a city there is no location."""
        for options, place in (
            ((), Place("武汉", "湖北")),
            (("city=武汉", "province="), Place("武汉")),
            (("city=北京",), Place("北京")),
            (("street=长江路",), Place("武汉", "湖北", "长江路")),
            (("city=",), Place()),
        ):
            self.assertEqual(self.make(*options, SECURECHAT_ROBOT_KEY=KEY)._place, place)

    def test_warnsOfPlainHttp(self) -> None:
        """The daemon warns at its start of HTTP to other machines, but not of HTTPS."""

        def warnings() -> list[str]:
            return [event["log_format"] for event in self.logged if "not encrypted" in event["log_format"]]

        self.make("url=https://turing.example/", SECURECHAT_ROBOT_KEY=KEY)
        self.make("url=http://127.0.0.1:8081/", SECURECHAT_ROBOT_KEY=KEY)
        self.assertEqual(len(warnings()), 0)
        for number, host in enumerate(SERVICE_HOSTS, 1):
            self.make(f"url=http://{host}{PATH}", SECURECHAT_ROBOT_KEY=KEY)
            self.assertEqual(len(warnings()), number)

    def test_documentedFields(self) -> None:
        """A request contains only documented fields."""
        self.assertEqual(
            request("x", "k", "u", Place("c", "p")),
            b'{"reqType":0,"perception":{"inputText":{"text":"x"},"selfInfo":{"location":{"city":"c","province":"p"}}},'
            b'"userInfo":{"apiKey":"k","userId":"u"}}',
        )
