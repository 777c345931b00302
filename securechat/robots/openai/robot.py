"""Language models with an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio or a hosted service.

Replies are streamed. A reply that is cancelled closes its connection at once, so that the server stops generating.
"""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.url import URL
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_text
from securechat.i18n import N_, _
from securechat.robots import options as values
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget
from securechat.robots.interface import IRobot, IRobotMaker, Option
from securechat.robots.openai.errors import error_in, retry_after
from securechat.robots.openai.messages import Reply, model_names, parse_json, request

DEFAULT_URL: Final = "http://127.0.0.1:11434/v1"  # Ollama's
DEFAULT_TIMEOUT: Final = "30"  # seconds between tokens
DEFAULT_PLACES: Final = "4"  # what Ollama answers at once if nobody says otherwise
DEFAULT_FIRST_TIMEOUT: Final = "300"  # seconds before the first: a large model is loaded from disk first
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

    def __init__(
        self,
        reactor: IHttpReactor,
        *,
        url: URL,
        key: str | None = None,
        model: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = float(DEFAULT_TIMEOUT),
        first_timeout: float = float(DEFAULT_FIRST_TIMEOUT),
        stream: bool = True,
    ) -> None:
        self._reactor = reactor
        self._http = HttpClient(reactor)
        self._chat_url = url.child("chat", "completions").to_text()
        self._models_url = url.child("models").to_text()
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self._model = model
        self._found_model: str | None = None
        self._question: dict[str, Any] = {
            "system": system,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stream": stream,
        }
        self._stream = stream
        self._timeout = timeout
        self._first_timeout = first_timeout

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
            error = RobotError(Fault.BROKEN_ANSWER, f"{error}: " + _("an HTML page instead of an API response"))
        elif response.code == 404 and not is_list:
            self._found_model = None
            error = RobotError(
                error.fault, f"{error}: " + _("no such model or URL") + f"; {await self._available_models()}"
            )
        return error

    async def _available_models(self) -> str:
        try:
            names = await self._list_models(TimeBudget(self._reactor, self._timeout))
        except RobotError:
            return _("the server lists no models")
        shown = ["".join(filter(str.isprintable, name))[:MAX_LOGGED_NAME] for name in names[:MAX_LOGGED_MODELS]]
        return _("available models: {names}").format(names=", ".join(shown) + " …" * (len(names) > MAX_LOGGED_MODELS))

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


@implementer(IRobotMaker)
class OpenAIMaker:
    """``--robot openai``"""

    name = "openai"
    summary = N_("a language model behind an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio, hosted ones")
    options = (
        Option("url", N_("address of the API"), DEFAULT_URL),
        Option("model", N_("name of the model; if not given, the first that the server lists")),
        Option("key-file", N_("file with the API key, if there is one (else the variable SECURECHAT_OPENAI_KEY)")),
        Option("system", N_("what the model is told before every conversation")),
        Option("system-file", N_("… or a file with it")),
        Option("temperature", N_("from 0, always the same, to 2, wild; if not given, as the server likes")),
        Option("max-tokens", N_("length of a reply; if not given, as the server likes")),
        Option("first-timeout", N_("seconds before a reply begins: models are loaded"), DEFAULT_FIRST_TIMEOUT),
        Option("timeout", N_("seconds between the parts of a reply"), DEFAULT_TIMEOUT),
        Option("stream", N_("yes or no: whether a reply comes word by word"), "yes"),
        Option("max-concurrent", N_("questions at once"), DEFAULT_PLACES),
    )

    def makeRobot(self, reactor: Any, options: Mapping[str, str], key: str | None) -> IRobot:
        temperature, max_tokens = options.get("temperature"), options.get("max-tokens")
        return OpenAIRobot(
            reactor,
            url=base_url(options.get("url", DEFAULT_URL)),
            key=_checked_key(key),
            model=options.get("model") or None,
            system=_system(options),
            temperature=values.parse_number("temperature", temperature, least=0, most=2)
            if temperature is not None
            else None,
            max_tokens=values.parse_count("max-tokens", max_tokens, most=1_000_000) if max_tokens is not None else None,
            timeout=values.parse_seconds("timeout", options.get("timeout", DEFAULT_TIMEOUT)),
            first_timeout=values.parse_seconds("first-timeout", options.get("first-timeout", DEFAULT_FIRST_TIMEOUT)),
            stream=_yes_or_no("stream", options.get("stream", "yes")),
        )


def base_url(text: str) -> URL:
    """The address that paths are added to. One without a path is a server's, whose API is below ``/v1``."""
    url = values.parse_address("url", text)
    path = [segment for segment in url.path if segment]
    if path[-2:] == ["chat", "completions"]:
        path = path[:-2]
    return url.replace(path=path or ["v1"], fragment="")


def _checked_key(key: str | None) -> str | None:
    """It becomes part of a header."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(_("the robot's key has characters that no key has"))
    return key or None


def _system(options: Mapping[str, str]) -> str | None:
    text, file = options.get("system"), options.get("system-file")
    if text is not None and file is not None:
        raise ConfigurationError(_("-R system and -R system-file exclude each other"))
    return text if file is None else read_text(Path(file)).strip()


def _yes_or_no(option: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise ConfigurationError(_("-R {option}={value}: yes or no is wanted").format(option=option, value=text))
    return text == "yes"
