"""The Turing robot (图灵机器人), as in the beginning: its API v2 over HTTP, asked without blocking.

The service keeps a conversation's context itself, by user id.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_secret
from securechat.i18n import N_, _
from securechat.robots.http import Http, read_body
from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Option
from securechat.robots.turing_messages import (
    BAD_USER_ID,
    NO_RESULT,
    TRY_AGAIN,
    Answer,
    encrypted,
    fault_of,
    no_result,
    parse_answer,
    request,
)

log = Logger()

DEFAULT_URL: Final = "http://openapi.tuling123.com/openapi/api/v2"
DEFAULT_CITY: Final = "武汉"
DEFAULT_PROVINCE: Final = "湖北"
DEFAULT_TIMEOUT: Final = "15"  # seconds, for a question with its answer
MAX_TEXT: Final = 128  # characters that the API takes
MAX_BODY: Final = 1024 * 1024  # bytes; an answer has a few thousand
BACK_OFF: Final = 1.0  # seconds before the one retry after the service's own error
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@implementer(IRobot)
class TuringRobot:
    """Asks the service, once for each message."""

    name = "turing"

    def __init__(
        self,
        reactor: Any,
        api_key: str,
        *,
        url: str = DEFAULT_URL,
        city: str = DEFAULT_CITY,
        province: str = DEFAULT_PROVINCE,
        timeout: float = float(DEFAULT_TIMEOUT),
        secret: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._http = Http(reactor)
        self._api_key = api_key
        self._url = url
        self._city = city
        self._province = province
        self._timeout = timeout
        self._secret = secret

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        text = conversation.turns[-1].text.strip()
        if not text:
            yield _("You said nothing.")
        elif len(text) > MAX_TEXT:
            yield _("I understand at most {limit} characters at once, and those were {size}. Say it in less?").format(
                limit=MAX_TEXT, size=len(text)
            )
        else:
            yield await self._http.within(self._timeout, self._ask(text, conversation.user_id))

    async def _ask(self, text: str, user_id: str) -> str:
        answer = await self._exchange(text, user_id)
        if answer.code == TRY_AGAIN:
            await deferLater(self._reactor, BACK_OFF)
            answer = await self._exchange(text, user_id)
        elif answer.code in BAD_USER_ID:
            answer = await self._exchange(text, secrets.token_hex(16))
        if answer.code in NO_RESULT:
            return no_result()
        if not answer.is_success:
            raise fault_of(answer.code)
        return answer.text or no_result()

    async def _exchange(self, text: str, user_id: str) -> Answer:
        body = request(text, self._api_key, user_id, self._city, self._province)
        if self._secret is not None:
            body = encrypted(body, self._api_key, self._secret, int(time.time() * 1000))
        response = await self._http.post(self._url, body, {"Content-Type": "application/json; charset=UTF-8"})
        answer = await read_body(response, MAX_BODY)
        if response.code != 200:
            raise RobotError(Fault.BROKEN_ANSWER, f"HTTP status {response.code}")
        return parse_answer(answer)

    def close(self) -> Deferred[None]:
        return self._http.close()


@implementer(IRobotMaker)
class TuringMaker:
    """``--robot turing``"""

    name = "turing"
    summary = N_("the Turing robot (图灵机器人), API v2; needs a key")
    options = (
        Option("key-file", N_("file with the API key (else the variable SECURECHAT_ROBOT_KEY)")),
        Option("url", N_("address of the API"), DEFAULT_URL),
        Option("city", N_("where questions come from"), DEFAULT_CITY),
        Option("province", N_("… and in which province"), DEFAULT_PROVINCE),
        Option("timeout", N_("seconds for an answer"), DEFAULT_TIMEOUT),
        Option("secret-file", N_("file with the secret, if encryption is switched on at the service")),
    )

    def makeRobot(self, reactor: Any, options: Mapping[str, str], key: str | None) -> IRobot:
        if key is None:
            raise ConfigurationError(
                _("the Turing robot needs a key: -R key-file=FILE or the variable SECURECHAT_ROBOT_KEY")
            )
        url = options.get("url", DEFAULT_URL)
        _check_url(url)
        secret_file = options.get("secret-file")
        return TuringRobot(
            reactor,
            key,
            url=url,
            city=options.get("city") or DEFAULT_CITY,
            province=options.get("province") or DEFAULT_PROVINCE,
            timeout=_seconds(options.get("timeout", DEFAULT_TIMEOUT)),
            secret=read_secret(Path(secret_file)) if secret_file is not None else None,
        )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(_("-R url={url}: not an http or https address").format(url=url))
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        log.warn(
            _("the way to {host} is plain HTTP: whoever is on it reads the conversation and the key"),
            host=parts.hostname,
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(_("-R timeout={value}: not a number of seconds").format(value=text))
    return seconds
