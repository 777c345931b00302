"""Language models with an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio or a hosted service.

Replies are streamed. A reply that is cancelled closes its connection at once, so that the server stops generating.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from itertools import chain, count
from typing import Any, Final

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.url import URL
from zope.interface import implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.files import read_text
from securechat.i18n import N_, _
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget
from securechat.robots.interface import IApiRobot, RobotMaker
from securechat.robots.openai import models
from securechat.robots.openai.error_response import read_error
from securechat.robots.openai.errors import ServerError
from securechat.robots.openai.headers import headers_of, read_headers, warn_of_secrets
from securechat.robots.openai.masking import Mask
from securechat.robots.openai.models import Model
from securechat.robots.openai.pass_through import PassThrough
from securechat.robots.openai.reading import END_TIMEOUT, MAX_BODY, read
from securechat.robots.openai.reply import Reply
from securechat.robots.openai.requests import request
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.openai.usage import UsageReader
from securechat.robots.servers import as_one
from securechat.robots.settings import warn_if_exposed
from securechat.wire.items import JSON_TYPE, Item

NAME: Final = "openai"
MAX_ATTEMPTS: Final = 3  # requests for one question; a further one follows only if the server has refused the last
MAX_LOGGED_MODELS: Final = 10
MAX_LOGGED_NAME: Final = 80  # characters of a model's name


@implementer(IApiRobot)
class OpenAIRobot:
    """Sends conversations to a server. It keeps no state other than what it learns about the server's models."""

    def __init__(
        self, reactor: IHttpReactor, settings: OpenAISettings, key: str | None = None, server: str | None = None
    ) -> None:
        """System prompt and headers are those in `settings.system` and `settings.header`; no file is read here.

        `settings.url` has one URL. `server` is the name of the server if it is one of several: then refused connections
        are not retried, because another one can be asked.
        """
        [text] = settings.url
        url = URL.fromText(text)
        self.name = server or NAME
        self._reactor = reactor
        self._http = HttpClient(reactor, retries=server is None)
        self._chat_url = url.child("chat", "completions").to_text()
        self._models_url = url.child("models").to_text()
        headers = headers_of(settings.header)
        self._headers = ({"Authorization": f"Bearer {key}"} if key is not None else {}) | headers
        self._mask = Mask(key, headers.values())
        self._pass_through = PassThrough(reactor, self._http, settings, self._headers, self._mask)
        self.models = settings.allowed_models
        self._model = settings.model
        self._found_model: str | None = None
        self._unsuitable_models: set[str] = set()  # those that the server refused
        self._question: dict[str, Any] = {
            "system": settings.system,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "stream": settings.stream,
        }
        self._stream = settings.stream
        self._has_extras = True  # requests name the user, and ask for the number of tokens
        self._timeout = settings.timeout
        self._first_timeout = settings.first_timeout

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        reply, usage = Reply(), UsageReader()
        try:
            budget = TimeBudget(self._reactor, self._first_timeout)
            with await self._ask(conversation, budget) as response:
                response.limit = MAX_BODY
                if self._stream and conversation.upstream is not None:
                    response.poll_only(conversation.upstream)
                while data := await read(response, reply, budget):
                    usage.feed(data)
                    before = reply.tokens
                    for text in reply.feed(data):
                        yield text
                    if reply.is_done:
                        budget.reset(min(budget.left, END_TIMEOUT))
                    elif reply.tokens > before and (self._stream or reply.is_complete):
                        budget.reset(self._timeout)
                for text in reply.end():
                    yield text
        except RobotError as error:
            if text := reply.rest():
                yield text
            raise self._mask.error(error) from None
        finally:
            conversation.usage.add(usage.prompt, usage.completion)
            await self._http.settled()

    def call(self, call: ApiCall) -> AsyncGenerator[Item, None]:
        return self._pass_through.call(call)

    async def _ask(self, conversation: Conversation, budget: TimeBudget) -> Response:
        """The response to a conversation, with a status of success; RobotError if there is none.

        If the server refuses the model that was chosen from its list, or the name of an option, the question is asked
        again with another; if it does not know the fields that are not needed, without them.
        """
        for _attempt in range(MAX_ATTEMPTS):
            model = self._model or self._found_model or await self._find_model(budget)
            user = conversation.user_id if self._has_extras else None
            body = request(model, conversation.turns, user=user, **self._question)
            headers = {**self._headers, "Content-Type": JSON_TYPE}
            response = await budget.wait(self._http.post(self._chat_url, body, headers))
            if 200 <= response.code < 300:
                return response
            error = await self._error(response)
            if not self._learn(error, model):
                break
        raise await self._with_models(error, response)

    def _learn(self, error: ServerError, model: str) -> bool:
        """Learn from an error; whether the question should be asked again."""
        limit = self._question.get("max_tokens")
        if error.wants_max_completion_tokens and limit is not None:
            self._question |= {"max_tokens": None, "max_completion_tokens": limit}
            return True
        if error.refuses_extras and self._has_extras:
            self._has_extras = False
            return True
        if not error.is_about_model:
            return False
        self._found_model = None
        if self._model is not None or error.fault is not Fault.REFUSED or model in self._unsuitable_models:
            return False
        self._unsuitable_models.add(model)
        return True

    async def _find_model(self, budget: TimeBudget) -> str:
        """The first model in the server's list that chats, as far as is known."""
        listed = await self._list_models(budget)
        self._unsuitable_models &= {model.name for model in listed}
        self._found_model = models.choose(listed, self._unsuitable_models)
        if self._found_model is None:
            problem = "the server lists no models that chat" if listed else "the server lists no models"
            raise RobotError(Fault.REFUSED, f"{problem}; set one with -R model=NAME")
        return self._found_model

    async def _list_models(self, budget: TimeBudget) -> list[Model]:
        with await budget.wait(self._http.get(self._models_url, self._headers)) as response:
            if response.code != 200:
                raise await self._error(response)
            return models.models_in(await budget.wait(response.read_all(models.MAX_LIST)))

    async def _error(self, response: Response) -> ServerError:
        """The meaning of a response that is not a success. Closes the response."""
        return (await read_error(self._reactor, response, self._timeout)).error

    async def _with_models(self, error: ServerError, response: Response) -> RobotError:
        """The error of a response, with the available models if it is about the model."""
        if not error.is_about_model:
            return error
        hint = "no such model or URL; " if response.code == 404 else ""
        return RobotError(error.fault, f"{error}: {hint}{await self._available_models()}", error.retry_after)

    async def _available_models(self) -> str:
        try:
            listed = await self._list_models(TimeBudget(self._reactor, self._timeout))
        except RobotError:
            return "the server lists no models"
        names = [model.name for model in listed[:MAX_LOGGED_MODELS]]
        shown = ["".join(filter(str.isprintable, name))[:MAX_LOGGED_NAME] for name in names]
        return f"available models: {', '.join(shown)}" + " …" * (len(listed) > MAX_LOGGED_MODELS)

    def close(self) -> Deferred[None]:
        return self._http.close()


def _make(reactor: Any, settings: OpenAISettings, key: str | None) -> IApiRobot:
    if settings.system_file is not None:
        if settings.system is not None:
            raise ConfigurationError(_("-R system and -R system-file are mutually exclusive"))
        settings = replace(settings, system=read_text(settings.system_file).strip())
    warn_of_secrets(settings.header)
    if settings.header_file is not None:
        settings = replace(settings, header=(*settings.header, *read_headers(settings.header_file)))
    for url in settings.url:
        warn_if_exposed(url)
    key = _checked_key(key)
    if len(settings.url) == 1:
        return OpenAIRobot(reactor, settings, key)
    robots = [
        OpenAIRobot(reactor, replace(settings, url=(url,)), key, name) for name, url in _names(settings.url).items()
    ]
    return as_one(NAME, robots, settings.max_concurrent, time.monotonic)


def _names(urls: Sequence[str]) -> dict[str, str]:
    """The URLs by the names of their servers, HOST:PORT, in logs and metrics: the rest may be a secret."""
    if not urls or len(set(urls)) < len(urls):
        raise ConfigurationError(_("url: expected one or more different URLs"))
    names: dict[str, str] = {}
    for text in urls:
        url = URL.fromText(text)
        host = f"[{url.host}]" if ":" in url.host else url.host
        name = f"{host}:{url.port}"
        others = (f"{name}-{number}" for number in count(2))
        names[next(unique for unique in chain([name], others) if unique not in names)] = text
    return names


def _checked_key(key: str | None) -> str | None:
    """A key that can be sent in a header; None if it is empty."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(_("the API key contains a space or a character that is not ASCII"))
    return key or None


OPENAI: Final = RobotMaker(
    NAME,
    N_("a language model with an OpenAI-compatible API: Ollama, llama.cpp, vLLM, LM Studio or a hosted service"),
    OpenAISettings,
    _make,
)
