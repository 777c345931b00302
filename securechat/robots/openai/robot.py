"""Language models with an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio or a hosted service.

Replies are streamed. A reply that is cancelled closes its connection at once, so that the server stops generating.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.url import URL
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_text
from securechat.i18n import N_, _
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget
from securechat.robots.interface import IRobot, RobotMaker
from securechat.robots.openai.errors import error_in, retry_after
from securechat.robots.openai.messages import Reply, model_names, parse_json, request
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.settings import warn_if_exposed

MAX_BODY: Final = 64 * 1024 * 1024  # bytes of a stream: some 200,000 tokens, most of them reasoning
MAX_ERROR: Final = 64 * 1024  # bytes of an error response
MAX_MODELS: Final = 4 * 1024 * 1024  # bytes of a list of models; hosted services have hundreds, with descriptions
END_TIMEOUT: Final = 0.5  # seconds to wait for the end of a stream, so that its connection can be kept
MAX_LOGGED_MODELS: Final = 10
MAX_LOGGED_NAME: Final = 80  # characters of a model's name


@implementer(IRobot)
class OpenAIRobot:
    """Sends conversations to a server. It keeps no state other than the name of the model."""

    name = "openai"

    def __init__(self, reactor: IHttpReactor, settings: OpenAISettings, key: str | None = None) -> None:
        """The system prompt is `settings.system`; a file with it is not read here."""
        url = URL.fromText(settings.url)
        self._reactor = reactor
        self._http = HttpClient(reactor)
        self._chat_url = url.child("chat", "completions").to_text()
        self._models_url = url.child("models").to_text()
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self._model = settings.model
        self._found_model: str | None = None
        self._question: dict[str, Any] = {
            "system": settings.system,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "stream": settings.stream,
        }
        self._stream = settings.stream
        self._timeout = settings.timeout
        self._first_timeout = settings.first_timeout

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        try:
            budget = TimeBudget(self._reactor, self._first_timeout)
            model = self._model or self._found_model or await self._find_model(budget)
            body = request(model, conversation.turns, **self._question)
            headers = {**self._headers, "Content-Type": "application/json"}
            with await budget.wait(self._http.post(self._chat_url, body, headers)) as response:
                if not 200 <= response.code < 300:
                    raise await self._error(response)
                response.limit = MAX_BODY
                reply = Reply()
                while data := await self._read(response, reply, budget):
                    before = reply.tokens
                    for text in reply.feed(data):
                        yield text
                    if reply.tokens > before and self._stream:
                        budget.reset(self._timeout)
                    if reply.is_complete:
                        budget.reset(min(budget.left, END_TIMEOUT))
                for text in reply.end():
                    yield text
        except RobotError as error:
            raise self._without_key(error) from None
        finally:
            await self._http.settled()

    async def _read(self, response: Response, reply: Reply, budget: TimeBudget) -> bytes:
        """The next bytes; empty at the end. Once the reply is complete, an error is an end, too."""
        try:
            return await budget.read(response)
        except RobotError:
            if reply.is_complete:
                return b""
            raise

    async def _find_model(self, budget: TimeBudget) -> str:
        """The first model in the server's list that does not compute embeddings."""
        names = await self._list_models(budget)
        if not names:
            raise RobotError(Fault.REFUSED, _("the server lists no models; set one with -R model=NAME"))
        self._found_model = next((name for name in names if "embed" not in name.lower()), names[0])
        return self._found_model

    async def _list_models(self, budget: TimeBudget) -> list[str]:
        with await budget.wait(self._http.get(self._models_url, self._headers)) as response:
            if response.code != 200:
                raise await self._error(response, is_list=True)
            return model_names(await budget.wait(response.read_all(MAX_MODELS)))

    async def _error(self, response: Response, *, is_list: bool = False) -> RobotError:
        """The meaning of a response that is not a success."""
        try:
            body = await TimeBudget(self._reactor, self._timeout).wait(response.read_all(MAX_ERROR))
            value = parse_json(body)
        except RobotError:  # the body is useful but not required
            body, value = b"", None
        after = response.headers.getRawHeaders(b"retry-after", [b""])[0]
        error = error_in(value, response.code, retry_after(after))
        if is_html(response, body) and response.code not in (401, 429, 503):
            text = _("{error}: an HTML page instead of an API response")
            error = RobotError(Fault.BROKEN_ANSWER, text.format(error=error))
        elif response.code == 404 and not is_list:
            self._found_model = None
            text = _("{error}: no such model or URL; {models}")
            error = RobotError(error.fault, text.format(error=error, models=await self._available_models()))
        return error

    async def _available_models(self) -> str:
        try:
            names = await self._list_models(TimeBudget(self._reactor, self._timeout))
        except RobotError:
            return _("the server lists no models")
        shown = ["".join(filter(str.isprintable, name))[:MAX_LOGGED_NAME] for name in names[:MAX_LOGGED_MODELS]]
        return _("available models: {names}").format(
            names=_(", ").join(shown) + " …" * (len(names) > MAX_LOGGED_MODELS)
        )

    def _without_key(self, error: RobotError) -> RobotError:
        """The error without the key, which a server could send back as an error code."""
        if not self._key or self._key not in str(error):
            return error
        return RobotError(error.fault, str(error).replace(self._key, "…"), error.retry_after)

    def close(self) -> Deferred[None]:
        return self._http.close()


def is_html(response: Response, body: bytes) -> bool:
    """Whether the response is a web page, such as that of a proxy."""
    kinds = response.headers.getRawHeaders(b"content-type") or [b""]
    return kinds[0].lower().startswith(b"text/html") or body.lstrip()[:1] == b"<"


def _make(reactor: Any, settings: OpenAISettings, key: str | None) -> OpenAIRobot:
    if settings.system_file is not None:
        if settings.system is not None:
            raise ConfigurationError(_("-R system and -R system-file are mutually exclusive"))
        settings = replace(settings, system=read_text(settings.system_file).strip())
    warn_if_exposed(settings.url)
    return OpenAIRobot(reactor, settings, _checked_key(key))


def _checked_key(key: str | None) -> str | None:
    """A key that can be sent in a header; None if it is empty."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(_("the API key contains a space or a character that is not ASCII"))
    return key or None


OPENAI: Final = RobotMaker(
    "openai",
    N_("a language model with an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio or a hosted service"),
    OpenAISettings,
    _make,
)
