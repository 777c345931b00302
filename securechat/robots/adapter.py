"""Answers API requests for robots that know conversations only."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from msgspec import json
from twisted.internet.defer import Deferred
from zope.interface import implementer

from securechat.calls.errors import api_error
from securechat.calls.paths import Route
from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation, Usage
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.chat_completions import ChatRequest, Completion, InvalidRequestError
from securechat.robots.interface import IApiRobot, IRobot
from securechat.wire.items import STREAM_TYPE, Head, Piece, ServerEvent

JSON: Final = "application/json"

Item = Head | Piece | ServerEvent


def as_api_robot(robot: IRobot, max_reply: int) -> IApiRobot:
    """The robot itself if it answers API requests, otherwise an adapter; `max_reply` is in bytes."""
    return robot if IApiRobot.providedBy(robot) else ChatAdapter(robot, max_reply)


@implementer(IApiRobot)
class ChatAdapter:
    """Turns requests to `chat/completions` into conversations. The list of models has the robot's name.

    Requests may name any model, because tools often insist on a name that they know.
    """

    models: frozenset[str] | None = None

    def __init__(self, robot: IRobot, max_reply: int) -> None:
        """`max_reply` is the number of bytes in the longest reply that is sent as a whole."""
        self.name: str = robot.name
        self._robot = robot
        self._max_reply = max_reply

    def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        return self._robot.reply(conversation)

    def close(self) -> Deferred[None]:
        return self._robot.close()

    async def call(self, call: ApiCall) -> AsyncGenerator[Item, None]:
        route, body = call.request
        if body is None or route.path != "chat/completions":
            for item in self._list(route) if body is None else _error(404, _("this robot only knows chat/completions")):
                yield item
            return
        try:
            request = ChatRequest.read(body)
        except InvalidRequestError as error:
            for item in _error(400, str(error), error.param):
                yield item
            return
        completion = Completion(self.name, request)
        answer = self._stream if request.is_streamed else self._whole
        usage = call.usage or Usage()
        conversation = Conversation(call.user_id, request.turns, call.queue_key, call.upstream, usage)
        async with aclosing(answer(conversation, completion)) as items:
            async for item in items:
                yield item

    async def _texts(self, conversation: Conversation, completion: Completion) -> AsyncGenerator[str, None]:
        """The parts of the reply, as much as the request allows."""
        async with aclosing(self._robot.reply(conversation)) as chunks:
            async for chunk in chunks:
                yield completion.cut(chunk)
                if completion.is_cut:
                    break

    async def _stream(self, conversation: Conversation, completion: Completion) -> AsyncGenerator[Item, None]:
        """The head is sent with the first text, so that a fault before it has a status of its own."""
        start: list[Item] = [Head(200, STREAM_TYPE), completion.first()]
        async with aclosing(self._texts(conversation, completion)) as texts:
            async for text in texts:
                for item in start:
                    yield item
                start = []
                if text:
                    yield completion.part(text)
        for item in (*start, *completion.end()):
            yield item

    async def _whole(self, conversation: Conversation, completion: Completion) -> AsyncGenerator[Item, None]:
        parts = []
        async with aclosing(self._texts(conversation, completion)) as texts:
            async for text in texts:
                parts.append(text)
                if completion.size > self._max_reply:
                    raise RobotError(Fault.TOO_LONG, "the reply exceeds --max-reply")
        for item in _whole(200, completion.whole("".join(parts))):
            yield item

    def _list(self, route: Route) -> list[Item]:
        """The list of models, or one of them."""
        model: dict[str, Any] = {"id": self.name, "object": "model", "created": 0, "owned_by": "securechat"}
        if route.model is None:
            return _whole(200, json.encode({"object": "list", "data": [model]}))
        if route.model == self.name:
            return _whole(200, json.encode(model))
        message = _("no such model; there is {model}").format(model=self.name)
        return _error(404, message, "model", "model_not_found")


def _error(status: int, message: str, param: str | None = None, code: str | None = None) -> list[Item]:
    return _whole(status, api_error(message, param, code))


def _whole(status: int, body: bytes) -> list[Item]:
    return [Head(status, JSON), Piece(body)]
