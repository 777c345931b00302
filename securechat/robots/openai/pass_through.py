"""API requests to an OpenAI-compatible server, passed through: what a tool sends, and what the server answers.

The server is sent the path, the body as far as the policy does not change it, and our own headers. A response keeps its
status, content type, Retry-After and body, or its events. Nothing else of either passes.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from twisted.python.url import URL

from securechat.calls.errors import SERVER_ERROR, api_error
from securechat.calls.requests import ApiCall
from securechat.calls.responses import json_response
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget
from securechat.robots.openai import models, retry_after
from securechat.robots.openai.error_response import ErrorResponse, is_html, read_error
from securechat.robots.openai.masking import Mask
from securechat.robots.openai.policy import Policy, PolicyError
from securechat.robots.openai.progress import Progress
from securechat.robots.openai.raw_events import RawEvents
from securechat.robots.openai.reading import END_TIMEOUT, MAX_BODY, read
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.openai.usage import UsageReader
from securechat.wire.items import JSON_TYPE, STREAM_TYPE, Head, Item, Piece, ServerEvent

MAX_FIRST_TIMEOUT: Final = 280.0  # seconds: tools give up after 300, and should learn why

_STREAM: Final = f"{STREAM_TYPE}, {JSON_TYPE}"  # a stream, or an error


class PassThrough:
    """Sends requests to one server."""

    def __init__(
        self,
        reactor: IHttpReactor,
        http: HttpClient,
        settings: OpenAISettings,
        headers: Mapping[str, str],
        mask: Mask,
    ) -> None:
        [url] = settings.url
        self._reactor = reactor
        self._http = http
        self._url = URL.fromText(url)
        self._models = settings.allowed_models
        self._first_timeout = min(settings.first_timeout, MAX_FIRST_TIMEOUT)
        self._timeout = settings.timeout
        self._policy = Policy(settings)
        self._headers = headers
        self._mask = mask

    async def call(self, call: ApiCall) -> AsyncGenerator[Item, None]:
        """As in IApiRobot."""
        try:
            changes = self._policy.changes(call)
        except PolicyError as error:
            for item in json_response(400, api_error(str(error), error.field)):
                yield item
            return
        budget = TimeBudget(self._reactor, self._first_timeout)
        usage = UsageReader()
        try:
            answer = await self._ask(call, changes, budget)
            if isinstance(answer, list):
                for item in answer:
                    yield item
                return
            with answer as response:
                async with aclosing(self._success(call, response, budget, usage)) as items:
                    async for item in items:
                        yield item
        except RobotError as error:
            raise self._mask.error(error) from None
        finally:
            if call.usage is not None:
                call.usage.add(usage.prompt, usage.completion)
            await self._http.settled()

    async def _ask(
        self, call: ApiCall, changes: Sequence[Mapping[str, object]], budget: TimeBudget
    ) -> Response | list[Item]:
        """A response with a status of success, or the items of one with an error; RobotError if there is neither.

        The next of the changes is tried if the server refuses the name of a limit.
        """
        for number, values in enumerate(changes):
            response = await budget.wait(self._send(call, values))
            if 200 <= response.code < 300:
                if number:
                    self._policy.learn(call)
                return response
            with response:
                failure = await read_error(self._reactor, response, self._timeout)
            if not failure.error.wants_max_completion_tokens:
                break
        return self._failure(response, failure)

    async def _send(self, call: ApiCall, values: Mapping[str, object]) -> Response:
        """Send a request with these values; the response, once its head has arrived."""
        route, body = call.request
        # The segments of a route are percent-encoded already.
        url = self._url.replace(path=(*self._url.path, *route.path.split("/"))).to_text()
        if body is None:
            return await self._http.get(url, {"Accept": JSON_TYPE, **self._headers})
        accept = _STREAM if body.written("stream") == "true" else JSON_TYPE
        headers = {"Accept": accept, **self._headers, "Content-Type": JSON_TYPE}
        return await self._http.post(url, body.replaced(values), headers)

    def _success(
        self, call: ApiCall, response: Response, budget: TimeBudget, usage: UsageReader
    ) -> AsyncGenerator[Item, None]:
        head = Head(response.code, _content_type(response))
        response.limit = MAX_BODY
        if head.is_stream:
            if call.upstream is not None:
                response.poll_only(call.upstream)
            return self._stream(head, response, budget, usage)
        if call.request.route.path == "models" and self._models is not None:
            return self._model_list(head, response, budget)
        return self._body(head, response, budget, usage)

    async def _body(
        self, head: Head, response: Response, budget: TimeBudget, usage: UsageReader
    ) -> AsyncGenerator[Item, None]:
        data = await budget.read(response)
        if is_html(response, data):
            raise RobotError(Fault.BROKEN_ANSWER, "the response is an HTML page")
        yield head
        while data:
            usage.feed(data)
            yield Piece(data)
            budget.reset(self._timeout)
            data = await budget.read(response)

    async def _model_list(self, head: Head, response: Response, budget: TimeBudget) -> AsyncGenerator[Item, None]:
        listed = models.only(await budget.wait(response.read_all(models.MAX_LIST)), self._models or frozenset())
        yield head
        yield Piece(listed)

    async def _stream(
        self, head: Head, response: Response, budget: TimeBudget, usage: UsageReader
    ) -> AsyncGenerator[Item, None]:
        yield head
        events, progress = RawEvents(), Progress()
        while not progress.is_done and (data := await read(response, progress, budget)):
            usage.feed(data)
            found = False
            for event in events.feed(data):
                found = True
                progress.add(event)
                yield self._masked(event)
                if progress.is_done:
                    break
            if progress.is_complete:
                budget.reset(min(budget.left, END_TIMEOUT))
            elif found and progress.has_begun:
                budget.reset(self._timeout)
        while await read(response, progress, budget):
            pass  # to the end of the response: then its connection is kept
        if not progress.is_done:
            for event in events.end():
                progress.add(event)
                yield self._masked(event)
        progress.end()

    def _masked(self, event: ServerEvent) -> ServerEvent:
        """The event, which may contain an error, without secrets."""
        data = self._mask.data(event.data)
        return event if data is event.data else ServerEvent(event.name, data)

    def _failure(self, response: Response, failure: ErrorResponse) -> list[Item]:
        """An error response. RobotError if it is not about the request, or if it is no response of the API.

        A page with a status below 500 is about the request, such as one for a path that the server does not have: as a
        failure, three of them would open the circuit for all users.
        """
        error, status = failure.error, response.code
        is_failure = failure.is_page and status >= 500 and error.fault is not Fault.BUSY
        if status < 400 or error.is_about_key or is_failure:
            raise error
        seconds = retry_after.to_pass_on(response.headers)
        head = Head(status, _content_type(response), seconds)
        if failure.body is not None:
            body = self._mask.data(failure.body)
            if not head.is_stream:
                return [head, Piece(body)]
            reader = RawEvents()
            if events := [*reader.feed(body), *reader.end()]:
                return [head, *events]
        message = _("the model's server answered with status {code}").format(code=status)
        return [Head(status, JSON_TYPE, seconds), Piece(api_error(message, kind=SERVER_ERROR))]


def _content_type(response: Response) -> str:
    values = response.headers.getRawHeaders(b"content-type") or [b""]
    return values[0].decode("latin-1")
