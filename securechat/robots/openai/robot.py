"""A language model behind an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio, or a hosted one.

The reply comes token by token. It stops at once when nobody wants it any more: the connection is closed, and the
server stops computing.
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
from securechat.robots.http.client import Http, Response, TimeBudget, read_body
from securechat.robots.interface import IRobot, RobotMaker
from securechat.robots.openai.errors import error_in, retry_after
from securechat.robots.openai.messages import Reply, model_names, parse_json, request
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.settings import warn_if_exposed

MAX_BODY: Final = 64 * 1024 * 1024  # bytes of a stream: some 200,000 tokens, most of them thoughts
MAX_ERROR: Final = 64 * 1024  # bytes of an error's body
MAX_MODELS: Final = 4 * 1024 * 1024  # bytes of the list of models: a hosted service has hundreds, described at length
END_TIMEOUT: Final = 0.5  # seconds for the stream to end after its last word, so that the connection can be kept
NAMED_MODELS: Final = 10  # of those that exist, in the operator's log
MAX_NAME: Final = 80  # characters of a model's name there


@implementer(IRobot)
class OpenAIRobot:
    """Asks a server for one reply at a time for each conversation; keeps nothing but the name of the model."""

    name = "openai"

    def __init__(self, reactor: Any, settings: OpenAISettings, key: str | None = None) -> None:
        """The system prompt is `settings.system`; a file with it is not read here."""
        url = URL.fromText(settings.url)
        self._http = Http(reactor)
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
            patience = self._http.patience(self._first_timeout)
            model = self._model or self._found_model or await self._find_model(patience)
            body = request(model, conversation.turns, **self._question)
            headers = {**self._headers, "Content-Type": "application/json"}
            with await patience.wait(self._http.post(self._chat_url, body, headers)) as answer:
                if not 200 <= answer.code < 300:
                    raise await self._refusal(answer)
                answer.limit = MAX_BODY
                reply = Reply()
                while data := await self._more(answer, reply, patience):
                    before = reply.tokens
                    for text in reply.feed(data):
                        yield text
                    if reply.tokens > before and self._stream:
                        patience.renew(self._timeout)
                    if reply.is_over or reply.finish is not None:
                        patience.renew(min(patience.left, END_TIMEOUT))
                for text in reply.end():
                    yield text
        except RobotError as error:
            raise self._without_key(error) from None

    async def _more(self, answer: Response, reply: Reply, patience: TimeBudget) -> bytes:
        """The next bytes; none at the end, which after the last word may be as it will."""
        try:
            return await patience.read(answer)
        except RobotError:
            if reply.is_over or reply.finish is not None:
                return b""
            raise

    async def _find_model(self, patience: TimeBudget) -> str:
        """The first model that the server lists, other than those that only compute embeddings."""
        names = await self._list_models(patience)
        if not names:
            raise RobotError(Fault.REFUSED, _("the server lists no model: say which one, with -R model=NAME"))
        self._found_model = next((name for name in names if "embed" not in name.lower()), names[0])
        return self._found_model

    async def _list_models(self, patience: TimeBudget) -> list[str]:
        with await patience.wait(self._http.get(self._models_url, self._headers)) as answer:
            if answer.code != 200:
                raise await self._refusal(answer, is_list=True)
            return model_names(await patience.wait(read_body(answer, MAX_MODELS)))

    async def _refusal(self, answer: Response, *, is_list: bool = False) -> RobotError:
        """What a status other than success means."""
        try:
            body = await self._http.patience(self._timeout).wait(read_body(answer, MAX_ERROR))
            value = parse_json(body)
        except RobotError:  # what it says would be nice to have, and is not needed
            body, value = b"", None
        after = answer.headers.getRawHeaders(b"retry-after", [b""])[0]
        error = error_in(value, answer.code, retry_after(after))
        if is_page(answer, body) and answer.code not in (401, 429, 503):
            error = RobotError(Fault.BROKEN_ANSWER, f"{error}: " + _("a page in HTML, not the API's answer"))
        elif answer.code == 404 and not is_list:
            self._found_model = None
            error = RobotError(
                error.fault, f"{error}: " + _("no such model or address") + f"; {await self._models_there_are()}"
            )
        return error

    async def _models_there_are(self) -> str:
        try:
            names = await self._list_models(self._http.patience(self._timeout))
        except RobotError:
            return _("the server lists no models")
        shown = ["".join(filter(str.isprintable, name))[:MAX_NAME] for name in names[:NAMED_MODELS]]
        return _("the models are {names}").format(names=", ".join(shown) + " …" * (len(names) > NAMED_MODELS))

    def _without_key(self, error: RobotError) -> RobotError:
        """The same, whatever of it a server made up: it knows the key."""
        if not self._key or self._key not in str(error):
            return error
        return RobotError(error.fault, str(error).replace(self._key, "…"), error.retry_after)

    def close(self) -> Deferred[None]:
        return self._http.close()


def is_page(answer: Response, body: bytes) -> bool:
    """Whether somebody else answered, such as a proxy."""
    kinds = answer.headers.getRawHeaders(b"content-type") or [b""]
    return kinds[0].lower().startswith(b"text/html") or body.lstrip()[:1] == b"<"


def _make(reactor: Any, settings: OpenAISettings, key: str | None) -> OpenAIRobot:
    if settings.system_file is not None:
        if settings.system is not None:
            raise ConfigurationError(_("-R system and -R system-file exclude each other"))
        settings = replace(settings, system=read_text(settings.system_file).strip())
    warn_if_exposed(settings.url)
    return OpenAIRobot(reactor, settings, _checked_key(key))


def _checked_key(key: str | None) -> str | None:
    """It becomes part of a header."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(_("the robot's key has characters that no key has"))
    return key or None


OPENAI: Final = RobotMaker(
    "openai",
    N_("a language model behind an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio, hosted ones"),
    OpenAISettings,
    _make,
)
