"""The Turing robot (图灵机器人), as in the beginning: its API v2 over HTTP, asked without blocking.

The service keeps a conversation's context itself, by user id.
"""

import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from securechat.conversation import Conversation, Notice
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_secret
from securechat.i18n import N_, _
from securechat.robots.http.client import Http, read_body
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

MAX_TEXT: Final = 128  # characters that the API takes
MAX_BODY: Final = 1024 * 1024  # bytes; an answer has a few thousand
BACK_OFF: Final = 1.0  # seconds before the one retry after the service's own error
BREATH: Final = 10.0  # seconds to leave the service alone after too many requests; it does not say how many
OK: Final = 200  # HTTP's status, which the service's own errors have, too
HOUR: Final = 3600  # seconds
DAY: Final = 24 * HOUR
CHINA: Final = 8 * HOUR  # ahead of UTC, all year; the quota of a day is for a day there


@implementer(IRobot)
class TuringRobot:
    """Asks the service, once for each message."""

    name = "turing"

    def __init__(
        self,
        reactor: Any,
        settings: TuringSettings,
        api_key: str,
        *,
        secret: str | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`wall_clock` tells the seconds since 1970: the service compares them with its own, and quotas end by them."""
        self._reactor = reactor
        self._http = Http(reactor)
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
            yield Notice(_("You said nothing."))
        elif len(text) > MAX_TEXT:
            # Neither cut nor split: an answer to half a question misleads, and each part would cost a call of the day.
            limits = _("I understand at most {limit} characters at once, and those were {size}. Say it in less?")
            yield Notice(limits.format(limit=MAX_TEXT, size=len(text)))
        else:
            yield await self._http.within(self._timeout, self._ask(text, conversation.user_id))

    async def _ask(self, text: str, user_id: str) -> str:
        """Ask, and once more if the service's code says that it may help."""
        try:
            return await self._exchange(text, user_id)
        except TuringError as error:
            if error.code == TRY_AGAIN:
                await deferLater(self._reactor, BACK_OFF)
            elif error.code in BAD_USER_ID:
                user_id = _another(user_id)
            else:
                raise
        return await self._exchange(text, user_id)

    async def _exchange(self, text: str, user_id: str) -> str:
        body = request(text, self._api_key, user_id, self._place, self._group)
        if self._secret is not None:
            body = encrypted(body, self._api_key, self._secret, int(self._wall_clock() * 1000))
        answer = await self._http.post(self._url, body, {"Content-Type": "application/json; charset=UTF-8"})
        reply = await read_body(answer, MAX_BODY)
        if answer.code != OK:
            raise RobotError(Fault.BROKEN_ANSWER, _("HTTP status {code}").format(code=answer.code))
        try:
            return parse_answer(reply)
        except TuringError as error:
            if error.code == NO_CALLS_LEFT:
                error.retry_after = until_midnight(self._wall_clock())
            elif error.code == TOO_FAST:
                error.retry_after = BREATH
            raise

    def close(self) -> Deferred[None]:
        return self._http.close()


def until_midnight(now: float) -> float:
    """Seconds from a time, as seconds since 1970, until the next day begins in China; more than none."""
    return DAY - (now + CHINA) % DAY


def _another(user_id: str) -> str:
    """The same one each time: the service keeps the context by it, and counts how many a key has."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def _make(reactor: Any, settings: TuringSettings, key: str | None) -> TuringRobot:
    if key is None:
        raise ConfigurationError(
            _("the Turing robot needs a key: -R key-file=FILE or the variable SECURECHAT_TURING_KEY")
        )
    if not settings.city and (settings.province or settings.street):
        raise ConfigurationError(_("-R province and -R street need a city: the service takes no location without one"))
    warn_if_exposed(settings.url)
    secret = read_secret(settings.secret_file) if settings.secret_file is not None else None
    return TuringRobot(reactor, settings, key, secret=secret)


def _place(settings: TuringSettings) -> Place:
    """The location that questions come from."""
    province = settings.province
    if province is None:
        province = DEFAULT_PROVINCE if settings.city == DEFAULT_CITY else ""
    return Place(settings.city, province, settings.street)


TURING: Final = RobotMaker("turing", N_("the Turing robot (图灵机器人), API v2; needs a key"), TuringSettings, _make)
