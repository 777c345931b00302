"""The fuzz targets of the local API: requests of tools, and the responses that are translated for them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from securechat.calls.bodies import Body, InvalidBodyError
from securechat.calls.paths import find_route
from securechat.client.api.address import parse_address
from securechat.client.api.errors import HttpError
from securechat.client.api.head import MAX_HEADERS, parse_head
from securechat.client.api.interface import Dialect, Forward
from securechat.client.api.model_list import ModelList, models_in
from securechat.client.api.ollama.interface import OllamaInterface
from securechat.client.api.ollama.models import show, tags
from securechat.client.api.openai import OpenAIInterface
from securechat.errors import RobotError
from securechat.robots.chat_completions import ChatRequest, Completion, InvalidRequestError
from securechat.robots.openai import models as server_models
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.local_api import Tool, get_bytes, request_bytes

Item = Head | Piece | ServerEvent

_OPENAI: Final = OpenAIInterface(ModelList(lambda: 0.0))
_OLLAMA: Final = OllamaInterface(ModelList(lambda: 0.0), lambda: 0.0)
_OLLAMA_PATHS: Final = ("chat", "generate", "embed", "embeddings", "show")
_ASKED: Final[dict[str, dict[str, object]]] = {  # for a response, by the first byte of the input
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "generate": {"prompt": "hi"},
    "embed": {"input": "hi", "stream": False},
    "embeddings": {"prompt": "hi", "stream": False},
}
_DATE: Final = re.compile(rb"\r\nDate: [^\r]*")


def http_head(data: bytes) -> None:
    """The lines of a request's head."""
    lines = data.split(b"\r\n")
    with suppress(HttpError):
        head = parse_head(lines)
        assert head.target.startswith(b"/")
        assert head.length is None or head.length >= 0
        assert sum(map(len, head.headers.values())) == len(lines) - 1 <= MAX_HEADERS
        for name, values in head.headers.items():
            assert name == name.lower()
            assert not any(sign in name for sign in b" \t\r\n:")
            assert not any(sign in value for value in values for sign in b"\r\n\0")


def http(data: bytes) -> None:
    """What a tool sends on a connection, which must not depend on the pieces; no request goes on without the key."""
    size = data[0] % 64 + 1 if data else 1
    responses = []
    for pieces in [data[1:]], [data[start : start + size] for start in range(1, len(data), size)]:
        tool = Tool()
        for piece in pieces:
            tool.send(piece)
        for call in tool.calls.started:
            assert find_route(call.path) is not None
        if b"sc-0123456789" not in data:
            assert not tool.calls.started
        sent = [(call.path, call.body) for call in tool.calls.started]
        responses.append((_DATE.sub(b"", tool.received), sent))
        tool.channel.connectionLost()
    assert responses[0] == responses[1]


def ollama_request(data: bytes) -> None:
    """A request to one of Ollama's paths, selected by the first byte: what goes to the server is a valid request."""
    path = _OLLAMA_PATHS[data[0] % len(_OLLAMA_PATHS)] if data else "chat"
    with suppress(HttpError):
        response = _OLLAMA.respond("POST", path, data[1:])
        if isinstance(response, Forward):
            assert find_route(response.path) is not None
            assert not response.body or isinstance(Body(response.body).model, str)
        else:
            json.loads(response.body)


def ollama_response(data: bytes) -> None:
    """A server's response, with NULs between its events; the first two bytes select the request, and its form."""
    paths = list(_ASKED)
    path = paths[data[0] % len(paths)] if data else "chat"
    form = data[1] if data[1:] else 0
    asked = {"model": "m", "think": bool(form & 2), **_ASKED[path]}
    if form & 1 or path.startswith("embed"):
        asked["stream"] = False
    response = _OLLAMA.respond("POST", path, json.dumps(asked).encode())
    assert isinstance(response, Forward)
    written = b"".join(_written(response.dialect, _items(data[2:], is_stream=bool(form & 4))))
    lines = [json.loads(line) for line in written.split(b"\n") if line]
    if path in ("chat", "generate"):
        assert [line for line in lines if line.get("done")] in ([], lines[-1:])


def openai_response(data: bytes) -> None:
    """A response that is passed on, with NULs between its events; the first byte says in which form."""
    form = data[0] if data else 0
    request = b'{"stream": true}' if form & 1 else data[1:]
    response = _OPENAI.respond("POST", "chat/completions", request)
    assert isinstance(response, Forward)
    if form & 2:
        response.dialect.head_without_status()
    b"".join(_written(response.dialect, _items(data[1:], is_stream=bool(form & 4))))


def _items(data: bytes, *, is_stream: bool) -> list[Item]:
    """The items of a result, as a server sends them."""
    if not is_stream:
        return [Head(200, "application/json"), *(Piece(part) for part in data.split(b"\0") if part)]
    events = [part.replace(b"\r", b"") for part in data.split(b"\0")]
    return [Head(200, "text/event-stream"), *(ServerEvent("", event) for event in events)]


def _written(dialect: Dialect, items: list[Item]) -> Iterator[bytes]:
    """The body that a dialect writes, until an error."""
    with suppress(HttpError):
        for part in (*dialect.items(items), *dialect.end()):
            if isinstance(part, bytes):
                yield part


def model_list(data: bytes) -> None:
    """A list of models, read by the client and by the daemon, which removes some of them."""
    with suppress(HttpError):
        models = models_in(data)
        listed = json.loads(tags(data))["models"]
        assert [model["name"] for model in listed] == [model["id"] for model in models]
        for model in models[:3]:
            assert json.loads(show(data, model["id"], "m"))["details"]
    with suppress(RobotError):
        server_models.models_in(data)
    with suppress(RobotError):
        json.loads(server_models.only(data, frozenset({"m"})))


def chat_request(data: bytes) -> None:
    """A request to a robot that knows conversations only."""
    with suppress(InvalidBodyError, InvalidRequestError):
        request = ChatRequest.read(Body(data))
        assert request.turns
        completion = Completion("m", request)
        completion.cut("hello")
        json.loads(completion.whole("hello"))
        for event in completion.end():
            assert b"\n" not in event.data


def serve_address(data: bytes) -> None:
    """The address of the local API on the command line; what is shown of it is read again."""
    with suppress(ValueError):
        address = parse_address(data.decode())
        assert parse_address(str(address)) == address


API_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "http_head": http_head,
    "http": http,
    "ollama_request": ollama_request,
    "ollama_response": ollama_response,
    "openai_response": openai_response,
    "model_list": model_list,
    "chat_request": chat_request,
    "serve_address": serve_address,
}


def api_seeds() -> dict[str, list[bytes]]:
    """A few valid inputs for each of them."""
    chunk = b'{"choices":[{"index":0,"delta":%b,"finish_reason":%b}]}'
    call = b'{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"%b"}}]}'
    events = b"\0".join(
        [
            chunk % (b'{"content":"h\\ud83d","reasoning_content":"x"}', b"null"),
            chunk % (call % b'{\\"a\\"', b"null"),
            chunk % (call % b":1}", b'"tool_calls"'),
            b"[DONE]",
        ]
    )
    whole = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    embeddings = b'{"data":[{"index":0,"embedding":[0.5,-1e9]}],"usage":{"prompt_tokens":1}}'
    models = b'{"object":"list","data":[{"id":"m","created":1,"capabilities":["vision"]},{"name":"embed"},"x"]}'
    message = b'{"role":"user","content":"hi","images":["iVBORw0KGgo="]}'
    tool = b'{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}'
    return {
        "http_head": [request_bytes().partition(b"\r\n\r\n")[0], get_bytes().strip()],
        "http": [
            b"\7" + request_bytes() + get_bytes("/api/version"),
            b"\1"
            + request_bytes(headers="Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", body=b"")
            + b"2\r\n{}\r\n0\r\n\r\n",
            b"\1" + get_bytes("/v1/models/a%2Fb?x", method="HEAD"),
        ],
        "ollama_request": [
            b'\0{"model":"m","messages":[%b,%b],"think":"low","options":{"num_predict":5}}' % (message, tool),
            b'\0{"model":"m","messages":[{"role":"tool","tool_name":"f","content":""}],"format":{"type":"object"}}',
            b'\1{"model":"m","prompt":"hi","suffix":"x","format":"json","images":["/9j/"]}',
            b'\2{"model":"m","input":["a","b"],"dimensions":8}',
            b'\3{"model":"m","prompt":"hi"}',
            b'\4{"name":"m:latest"}',
        ],
        "ollama_response": [
            b"\0\6" + events,
            b"\1\6" + events,
            b"\0\1" + whole,
            b"\1\1" + whole,
            b"\2\1" + embeddings,
            b"\3\1" + embeddings,
        ],
        "openai_response": [b"\7" + events, b"\3" + b'{"error":{"message":"x"}}', b"\0" + whole],
        "model_list": [models, b'["a","b"]', b'{"models":[{"name":"m","meta":{"n_ctx":1}}]}'],
        "chat_request": [
            b'{"messages":[%b],"max_tokens":1,"stream":true,"stream_options":{"include_usage":true},"n":1}'
            % b'{"role":"user","content":[{"type":"text","text":"hi"}]}'
        ],
        "serve_address": [b"11435", b"127.0.0.1:1", b"[::1]:1", b"unix:~/x"],
    }
