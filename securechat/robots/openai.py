"""Any server with OpenAI's interface: Ollama, llama.cpp, vLLM, LM Studio, and those that are hosted.

A question is one POST to ``/chat/completions``; the answer comes as a stream of events, or as one JSON object.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.url import URL
from zope.interface import implementer

from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_text
from securechat.i18n import N_, _
from securechat.robots import completions
from securechat.robots.completions import Delta, Joiner, check_finish, parse, upstream_error
from securechat.robots.http import Answer, Http, read_all
from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Notice, Option
from securechat.robots.options import address, count, number, seconds
from securechat.robots.sse import DONE, EventStream
from securechat.robots.thoughts import Thoughts

DEFAULT_URL: Final = "http://127.0.0.1:11434/v1"
DEFAULT_FIRST_TIMEOUT: Final = "300"  # seconds to the first token: models are loaded, prompts are long
DEFAULT_TIMEOUT: Final = "30"  # seconds from one token to the next
DEFAULT_PLACES: Final = "4"  # what Ollama answers at once if nobody says otherwise
LAST_WORDS: Final = 1.0  # seconds for what comes after the end of a reply, which is usage and [DONE]

MAX_STREAM: Final = 64 * 1024 * 1024  # bytes; a long reply with much thinking before it has ten
MAX_WHOLE: Final = 4 * 1024 * 1024  # bytes of an answer in one piece
MAX_ERROR: Final = 64 * 1024
MAX_TOKENS: Final = 10**7

OK: Final = 200
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What an operator may choose. `url` is the base, up to and with ``/v1``."""

    url: URL = URL.fromText(DEFAULT_URL)  # noqa: RUF009 - it is immutable
    model: str | None = None  # none: the first that the server lists
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    first_timeout: float = float(DEFAULT_FIRST_TIMEOUT)  # seconds
    timeout: float = float(DEFAULT_TIMEOUT)  # seconds
    stream: bool = True


class _Patience:
    """Until when the next token has to be there. It runs while we wait, not while we are read slowly."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        self._end = self._clock() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - self._clock())


@implementer(IRobot)
class OpenAIRobot:
    """Asks the server, once for each message."""

    name = "openai"

    def __init__(self, reactor: Any, settings: Settings, key: str | None = None) -> None:
        self._reactor = reactor
        self._settings = settings
        self._http = Http(reactor)
        self._model = settings.model
        self._headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {key}"} if key is not None else {}

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        patience = _Patience(self._reactor.seconds, self._settings.first_timeout)
        answer = await self._http.within(patience.left, self._ask(conversation))
        try:
            async with aclosing(self._texts(answer, patience)) as texts:
                async for text in texts:
                    yield text
        finally:
            answer.body.close()

    async def _texts(self, answer: Answer, patience: _Patience) -> AsyncGenerator[str, None]:
        """The reply without what the model thought; RobotError if it has no good end."""
        thoughts, joiner = Thoughts(), Joiner()
        finish: str | None = None
        empty = True
        async with aclosing(self._deltas(answer, patience)) as deltas:
            async for delta in deltas:
                if text := thoughts.feed(joiner.feed(delta.text)):
                    empty = False
                    yield text
                if delta.is_progress:
                    patience.restart(self._settings.timeout)
                if delta.finish is not None and finish is None:
                    finish = delta.finish
                    patience.restart(LAST_WORDS)
        if text := thoughts.end():
            empty = False
            yield text
        if finish is None:
            raise RobotError(Fault.BROKEN_ANSWER, _("the reply was cut"))
        check_finish(finish)
        if empty:
            raise RobotError(Fault.BROKEN_ANSWER, _("the reply is empty"))
        if finish == completions.CUT_BY_LIMIT:
            yield Notice("\n" + _("[The reply ends here because it may not be longer.]"))

    async def _ask(self, conversation: Conversation) -> Answer:
        settings = self._settings
        if self._model is None:
            self._model = await self._first_model()
        options: dict[str, object] = {"model": self._model, "stream": settings.stream}
        if settings.temperature is not None:
            options["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            options["max_tokens"] = settings.max_tokens
        body = completions.request(conversation, settings.system, options)
        headers = {**self._headers, "Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        answer = await self._http.post(settings.url.child("chat", "completions"), body, headers, MAX_STREAM)
        try:
            if answer.status != OK:
                raise await self._refusal(answer)
        except BaseException:
            answer.body.close()
            raise
        return answer

    async def _deltas(self, answer: Answer, patience: _Patience) -> AsyncGenerator[Delta, None]:
        """What the answer says, as it comes; RobotError if it is none, too late, or breaks off."""
        if not _is_stream(answer):
            yield parse(await self._http.within(patience.left, read_all(answer, MAX_WHOLE)))
            return
        events = EventStream()
        finished = False
        while True:
            try:
                data = await self._http.within(patience.left, answer.body.read())
            except RobotError:
                if finished:  # whatever happens after the end of a reply
                    return
                raise
            for event in events.feed(data) if data else events.end():
                if event.data == DONE:
                    return
                if event.kind == "error":
                    raise upstream_error(completions.error_in(event.data.encode()) or event.data)
                delta = parse(event.data)
                finished = finished or delta.finish is not None
                yield delta
            if not data:
                return

    async def _refusal(self, answer: Answer) -> RobotError:
        """What an answer with another status means."""
        body = await read_all(answer, MAX_ERROR)
        error = upstream_error(completions.error_in(body), answer.status, _retry_after(answer))
        if answer.status != NOT_FOUND:
            return error
        try:
            names = ", ".join(await self._models())
        except RobotError:
            return RobotError(Fault.REFUSED, _("status 404: nothing is there; look at the url"))
        return RobotError(
            Fault.REFUSED, _("status 404: there is no such model; there are: {names}").format(names=names)
        )

    async def _first_model(self) -> str:
        models = await self._models()
        if not models:
            raise RobotError(Fault.REFUSED, _("the server lists no model: say which one, with -R model=NAME"))
        return models[0]

    async def _models(self) -> list[str]:
        answer = await self._http.get(self._settings.url.child("models"), self._headers, MAX_WHOLE)
        try:
            body = await read_all(answer, MAX_WHOLE)
            if answer.status != OK:
                raise upstream_error(completions.error_in(body), answer.status, _retry_after(answer))
            return completions.models_in(body)
        finally:
            answer.body.close()

    def close(self) -> Deferred[None]:
        return self._http.close()


def _is_stream(answer: Answer) -> bool:
    (kind, *_others) = answer.headers.getRawHeaders("content-type", [""])
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _retry_after(answer: Answer) -> float | None:
    """Seconds until asking again may help, from the header, which has seconds or a date."""
    (value, *_others) = answer.headers.getRawHeaders("retry-after", [""])
    try:
        wait = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), 24 * 60 * 60.0)


@implementer(IRobotMaker)
class OpenAIMaker:
    """``--robot openai``"""

    name = "openai"
    summary = N_("a server with OpenAI's interface: Ollama, llama.cpp, vLLM, LM Studio, …")
    options = (
        Option("url", N_("address of the server, up to /v1"), DEFAULT_URL),
        Option("model", N_("name of the model; if not given, the first that the server lists")),
        Option("system", N_("what the model is told before each conversation")),
        Option("system-file", N_("… or the file with it")),
        Option("temperature", N_("from 0, always alike, to 2, wild")),
        Option("max-tokens", N_("longest reply")),
        Option("key-file", N_("file with the API key, if there is one (else the variable SECURECHAT_OPENAI_KEY)")),
        Option("first-timeout", N_("seconds for a reply to begin"), DEFAULT_FIRST_TIMEOUT),
        Option("timeout", N_("seconds from one piece of a reply to the next"), DEFAULT_TIMEOUT),
        Option("stream", N_("yes, or no for replies in one piece"), "yes"),
        Option("max-concurrent", N_("questions at once"), DEFAULT_PLACES),
    )

    def makeRobot(self, reactor: Any, options: Mapping[str, str], key: str | None) -> IRobot:
        given = options.get
        temperature, max_tokens = given("temperature"), given("max-tokens")
        if "system" in options and "system-file" in options:
            raise ConfigurationError(_("-R system and -R system-file: only one of them"))
        system_file = given("system-file")
        settings = Settings(
            url=_base(given("url", DEFAULT_URL)),
            model=given("model") or None,
            system=read_text(Path(system_file)).strip() if system_file is not None else given("system", ""),
            temperature=number("temperature", temperature, least=0.0, most=2.0) if temperature is not None else None,
            max_tokens=count("max-tokens", max_tokens, most=MAX_TOKENS) if max_tokens is not None else None,
            first_timeout=seconds("first-timeout", given("first-timeout", DEFAULT_FIRST_TIMEOUT)),
            timeout=seconds("timeout", given("timeout", DEFAULT_TIMEOUT)),
            stream=_yes("stream", given("stream", "yes")),
        )
        return OpenAIRobot(reactor, settings, key)


def _base(text: str) -> URL:
    """The address up to ``/v1``, which may be left out where there is no other path, or have something after it."""
    url = address("url", text)
    path = [part for part in url.path if part]
    if path[-2:] == ["chat", "completions"]:
        path = path[:-2]
    return url.replace(path=path or ["v1"])


def _yes(option: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise ConfigurationError(_("-R {option}={value}: yes or no is wanted").format(option=option, value=text))
    return text == "yes"
