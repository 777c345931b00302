"""The Turing robot (图灵机器人), a service with an HTTP API.

The service itself keeps the context of a conversation, by user id.
"""

import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from securechat.conversation import Conversation, Notice
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_secret
from securechat.i18n import N_, _
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.time_budget import within
from securechat.robots.interface import IRobot, RobotMaker
from securechat.robots.settings import warn_if_exposed
from securechat.robots.turing.messages import (
    BAD_USER_ID,
    NO_CALLS_LEFT,
    TOO_FAST,
    TRY_AGAIN,
    Place,
    TuringError,
    encrypted,
    parse_answer,
    request,
)
from securechat.robots.turing.settings import DEFAULT_CITY, DEFAULT_PROVINCE, TuringSettings

MAX_TEXT: Final = 128  # characters of a message
MAX_BODY: Final = 1024 * 1024  # bytes; a response has a few thousand
RETRY_DELAY: Final = 1.0  # seconds before the only retry after an internal error of the service
TOO_FAST_PAUSE: Final = 10.0  # seconds after too many requests; the service does not document its limit
HOUR: Final = 3600  # seconds
DAY: Final = 24 * HOUR
CHINA: Final = 8 * HOUR  # offset from UTC, all year; the daily quota is for a day in China


@implementer(IRobot)
class TuringRobot:
    """Sends each message to the service."""

    name = "turing"

    def __init__(
        self,
        reactor: IHttpReactor,
        settings: TuringSettings,
        api_key: str,
        *,
        secret: str | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`wall_clock` returns Unix time, which encrypted requests contain and which tells when a quota ends."""
        self._reactor = reactor
        self._http = HttpClient(reactor)
        self._api_key = api_key
        self._url = settings.url
        self._place = _place(settings)
        self._group = settings.group
        self._timeout = settings.timeout
        self._secret = secret
        self._wall_clock = wall_clock

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        text = conversation.turns[-1].text.strip()
        if not text:
            yield Notice(_("The message is empty."))
        elif len(text) > MAX_TEXT:
            # Not truncated or split: the answer to a part would mislead, and each part counts against the daily quota.
            limits = _("I can read at most {limit} characters in a message; this one has {size}. Please shorten it.")
            yield Notice(limits.format(limit=MAX_TEXT, size=len(text)))
        else:
            try:
                yield await within(self._reactor, self._timeout, self._ask(text, conversation.user_id))
            finally:
                await self._http.settled()

    async def _ask(self, text: str, user_id: str) -> str:
        """Send the message, and once more after an error that a second attempt may solve."""
        try:
            return await self._exchange(text, user_id)
        except TuringError as error:
            if error.code == TRY_AGAIN:
                await deferLater(self._reactor, RETRY_DELAY)
            elif error.code in BAD_USER_ID:
                user_id = _alternative_id(user_id)
            else:
                raise
        return await self._exchange(text, user_id)

    async def _exchange(self, text: str, user_id: str) -> str:
        body = request(text, self._api_key, user_id, self._place, self._group)
        if self._secret is not None:
            body = encrypted(body, self._api_key, self._secret, int(self._wall_clock() * 1000))
        response = await self._http.post(self._url, body, {"Content-Type": "application/json; charset=UTF-8"})
        reply = await response.read_all(MAX_BODY)
        if response.code != HTTPStatus.OK:  # errors of the service have status 200 as well
            raise RobotError(Fault.BROKEN_ANSWER, f"HTTP status {response.code}")
        try:
            return parse_answer(reply)
        except TuringError as error:
            if error.code == NO_CALLS_LEFT:
                error.retry_after = until_midnight(self._wall_clock())
            elif error.code == TOO_FAST:
                error.retry_after = TOO_FAST_PAUSE
            raise

    def close(self) -> Deferred[None]:
        return self._http.close()


def until_midnight(now: float) -> float:
    """Seconds from a Unix time until the next day begins in China."""
    return DAY - (now + CHINA) % DAY


def _alternative_id(user_id: str) -> str:
    """Another user id, always the same for this one: the service keeps the context by it, and counts the ids."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def _make(reactor: Any, settings: TuringSettings, key: str | None) -> TuringRobot:
    if key is None:
        raise ConfigurationError(
            _("the Turing robot needs an API key: use -R key-file=FILE or set SECURECHAT_TURING_KEY")
        )
    if not settings.city and (settings.province or settings.street):
        raise ConfigurationError(
            _("-R province and -R street require a city: the service accepts no location without one")
        )
    warn_if_exposed(settings.url)
    secret = read_secret(settings.secret_file) if settings.secret_file is not None else None
    return TuringRobot(reactor, settings, key, secret=secret)


def _place(settings: TuringSettings) -> Place:
    """The location in requests."""
    province = settings.province
    if province is None:
        province = DEFAULT_PROVINCE if settings.city == DEFAULT_CITY else ""
    return Place(settings.city, province, settings.street)


TURING: Final = RobotMaker(
    "turing", N_("the Turing robot (图灵机器人), API v2; needs an API key"), TuringSettings, _make
)
