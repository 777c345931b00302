"""A server with OpenAI's interface, and with what servers that have it get wrong.

The tests run it on a real port. By hand: ``python -m tests.openai_peer 11434`` and, in another window, ``twistd -n
securechat --robot openai``. What it does is said by the message: the name of one of `PLAYS`, or anything else, which is
repeated word by word.
"""

import gzip
import json
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

KEY = "sk-test-0123456789"
MODELS = ("llama3.2:latest", "qwen3:4b", "bad\x1bname")

Step = bytes | float | None
"""What a server does next: send, wait so many seconds, or (None) close. After the last it keeps the connection."""

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"
JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
DONE: Final = b"data: [DONE]\n\n"


def chunk(content: object = None, finish: object = None, **more: object) -> bytes:
    """One event of a reply."""
    choice = {"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}
    return data({"object": "chat.completion.chunk", "choices": [choice]})


def data(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def status(code: int, body: object, *headers: str) -> bytes:
    """An answer with another status."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(content)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def whole(content: object, finish: str = "stop") -> bytes:
    """A reply in one piece."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()


def cut(stream: bytes, size: int = 1) -> list[Step]:
    """A stream in pieces, with a turn of the reactor between them."""
    steps: list[Step] = []
    for start in range(0, len(stream), size):
        steps += [stream[start : start + size], 0.0]
    return steps


def stream(*steps: Any) -> list[Any]:
    """A stream of events that ends."""
    return [HEAD, *steps, None]


def packed(encoding: str, *steps: Any, head: bytes = HEAD) -> list[Any]:
    """An answer that says how it is packed."""
    return [head.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {encoding}\r\n\r\n".encode()), *steps, None]


GOOD: Final = chunk("", role="assistant") + chunk("Hello ") + chunk("there") + chunk(None, "stop")
THOUGHTFUL: Final = "\n<think>Hm, <b>\n</think>\n\nHello <think>"
USAGE: Final = data({"choices": [], "usage": {"total_tokens": 3}})
ERROR: Final = {"error": {"message": "your prompt: x", "type": "server_error", "code": 500}}

PLAYS: Final[dict[str, list[Any]]] = {
    "ollama": stream(chunk("Hel", role="assistant"), chunk("lo"), chunk("", "stop"), USAGE, DONE),
    "llama.cpp": [
        *(HEAD, b":\n\n", chunk(None, role="assistant"), chunk("Hello"), b":\n\n"),
        *(data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": {}}), USAGE, DONE, None),
    ],
    "vllm": stream(chunk("", role="assistant"), chunk("Hel", usage={}), chunk("lo", "stop"), DONE),
    # 1 Comments
    "comments": stream(b": OPENROUTER PROCESSING\n\n", chunk("Hello"), b":\n", chunk(None, "stop"), b": end\n", DONE),
    "comments only": stream(*([b": PROCESSING\n\n", 0.05] * 40)),
    "comments after text": stream(chunk("Hello"), *([b":\n\n", 0.05] * 40)),
    # 2 The stream's form
    "crlf": stream(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), DONE),
    "cr": stream(GOOD.replace(b"\n", b"\r"), DONE),
    "fields": [
        *(HEAD, b"retry: 10\nid: 7\nevent: message\n" + chunk("Hel")),
        *(b'data:{"choices":[\ndata: {"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n', None),
    ],
    "no last line end": stream(GOOD, b"data: [DONE]"),
    "unfinished event": stream(chunk("Hello"), chunk(" lost", "stop")[:-1]),
    # 3 Characters cut
    "split": stream(*cut(chunk("你好") + chunk("，😀", "stop") + DONE)),
    "surrogates": stream(
        *(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', 0.0),
        *(b'data: {"choices":[{"delta":{"content":"\\ude00"},"finish_reason":"stop"}]}\n\n', DONE),
    ),
    # 4 and 5 What is missing, null or more than was wanted
    "odd": [
        *(HEAD, data({}), data({"choices": None}), data({"choices": []}), data({"choices": [None]})),
        *(data({"choices": [{"delta": None}]}), data({"choices": [{"index": None}]}), chunk(None, ""), chunk(7)),
        *(
            chunk("Hel", ""),
            data({"choices": [{"index": 1, "delta": {"content": "other"}}, {"delta": {"content": "lo"}}]}),
        ),
        *(chunk([{"type": "text", "text": "!"}, 3], "eos"), USAGE, DONE, None),
    ],
    # 6 Errors inside
    "error text": stream(chunk("Hel"), data({"error": "x"})),
    "error object": stream(chunk("Hel"), data(ERROR), DONE),
    "error detail": stream(data({"detail": "x"})),
    "error message": stream(data({"object": "error", "message": "x"})),
    "error line": stream(chunk("Hel"), b'error: {"code":500,"message":"x"}\n\n'),
    "error event": stream(b'event: error\ndata: {"error":{"type":"timeout"}}\n\n'),
    "error whole": [JSON_HEAD, json.dumps(ERROR).encode(), None],
    # 7 and 8 Ends that are none
    "cut": stream(chunk("Hel")),
    "cut at once": [HEAD, None],
    "ollama's error": stream(chunk("Hel"), chunk("")),
    "aborted": stream(chunk("Hel"), DONE),
    "abort": stream(chunk("Hel"), chunk(None, "abort"), DONE),
    "no done": stream(GOOD),
    "hangs after its end": [HEAD, GOOD],
    "filtered": stream(chunk("Hel"), chunk(None, "content_filter"), DONE),
    "limit": stream(chunk("Hello"), chunk(None, "length"), DONE),
    "empty": stream(chunk(""), chunk(None, "stop"), DONE),
    "chunked, cut": [HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"), b"5\r\ndata:\r\n", None],
    # 9 In one piece
    "whole": [JSON_HEAD, whole("Hello"), None],
    "whole, slow": [JSON_HEAD, whole("Hello")[:20], 0.3, whole("Hello")[20:], None],
    # 10 Proxies
    "html": [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>x</html>", None],
    "html 502": [status(502, b"<html>x</html>")],
    # 11 Time
    "hang": [],
    "hang before text": [HEAD],
    "hang in text": [HEAD, chunk("Hello")],
    "slow start": [0.3, HEAD, chunk("Hello", "stop"), DONE, None],
    "slow": stream(*(step for word in ("one ", "two ", "three ") for step in (chunk(word), 0.1)), chunk("", "stop")),
    # 12 Thoughts
    "thoughts": stream(chunk(None, reasoning="Hm"), chunk("", reasoning_content="Hm"), chunk("Hello", "stop"), DONE),
    "long thoughts": stream(*([chunk(None, reasoning_content="Hm"), 0.05] * 12), chunk("Hello", "stop"), DONE),
    "inline thoughts": stream(*(chunk(letter) for letter in THOUGHTFUL), chunk("", "stop")),
    "almost a thought": stream(chunk("<thi"), chunk(None, "stop"), DONE),
    "only thoughts": stream(chunk("<think>Hm"), chunk(None, "stop"), DONE),
    # 14 Statuses
    "401": [status(401, {"error": {"message": f"Incorrect key {KEY}", "code": "invalid_api_key"}})],
    "403": [status(403, b"")],
    "404": [status(404, {"error": {"message": 'model "x" not found', "type": "not_found_error"}})],
    "429": [status(429, ERROR, "Retry-After: 7")],
    "429 date": [status(429, ERROR, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT")],
    "429 nonsense": [status(429, ERROR, "Retry-After: soon")],
    "503": [status(503, {"error": {"message": "Loading model", "type": "unavailable_error"}})],
    "400": [status(400, {"error": {"message": "unknown field", "type": "invalid_request_error"}})],
    "context": [status(400, {"error": {"message": "x", "code": "context_length_exceeded"}})],
    "500": [status(500, ERROR)],
    # 17 Bounds, and compression
    "endless line": [HEAD, *([b"data: " + b"x" * 65_536] * 40)],
    "endless event": [HEAD, *([b"data: " + b"x" * 65_536 + b"\n"] * 80)],
    "endless error": [status(500, b"x" * 100_000)],
    "endless answer": [JSON_HEAD, *([b" " * 262_144] * 20)],
    "gzip": packed("gzip", *cut(gzip.compress(GOOD + DONE), 7)),
    "gzip, cut": packed("gzip", gzip.compress(GOOD + DONE)[:40]),
    "gzip, not": packed("gzip", GOOD),
    "deflate": packed("deflate", zlib.compress(GOOD + DONE)),
    "brotli": packed("br", GOOD),
    "bomb": packed("gzip", gzip.compress(bytes(16 * 1024 * 1024)), head=JSON_HEAD),
    # 19 Redirects
    "redirect": [b"HTTP/1.1 307 Go\r\nLocation: http://localhost:9/v1\r\nContent-Length: 0\r\n\r\n"],
    # What is no HTTP
    "garbage": [b"\x16\x03\x01\x02\x00garbage\r\n\r\n", None],
    "not json": [HEAD, b"data: {nonsense\n\n"],
    "nested": [HEAD, b"data: " + b"[" * 100_000 + b"\n\n"],
    "no object": [HEAD, b"data: 7\n\n"],
    "close": [None],
}


def echo(text: str) -> Iterator[Step]:
    yield HEAD
    for word in text.split(" "):
        yield chunk(word + " ")
        yield 0.02
    yield chunk(None, "stop") + DONE
    yield None


class OpenAIConnection(Protocol):
    """One connection with one request."""

    transport: ITCPTransport

    def __init__(self, peer: "OpenAIPeer") -> None:
        self.peer = peer
        self._buffer = b""
        self._lost = False
        self._call: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
        if len(body) < int(headers.get("content-length", "0")):
            return
        self._buffer = b""
        method, path, _version = first.split(" ")
        question = json.loads(body) if body else {}
        self.peer.asked.append((f"{method} {path}", headers, question))
        self._play(iter(self._answer(path, question)))

    def _answer(self, path: str, question: dict[str, Any]) -> Sequence[Step] | Iterator[Step]:
        if path.startswith("/v1/models"):
            return [status(200, {"data": [{"id": model} for model in self.peer.models]})]
        if not path.startswith("/v1/chat/completions"):
            return [status(404, b"not here")]
        text = question["messages"][-1]["content"]
        return PLAYS[text] if text in PLAYS else echo(text)

    def _play(self, steps: Iterator[Step]) -> None:
        for step in steps:
            if self._lost:
                return
            if step is None:
                self.transport.loseConnection()
                return
            if isinstance(step, bytes):
                self.transport.write(step)
            else:
                self._call = self.peer.reactor.callLater(step, self._play, steps)
                return

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        self.peer.ends.append(time.monotonic())
        self.peer.open -= 1


class OpenAIPeer(Factory):
    """The server: what it was asked, and when its connections ended."""

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.models: Sequence[str] = MODELS
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.ends: list[float] = []
        self.open = 0

    def buildProtocol(self, addr: object) -> OpenAIConnection:
        self.open += 1
        return OpenAIConnection(self)


def main() -> None:
    reactor = cast(Any, installed)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 11434
    reactor.listenTCP(port, OpenAIPeer(reactor), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
