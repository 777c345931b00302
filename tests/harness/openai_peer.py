"""A server with the OpenAI-compatible API that behaves like real ones, or misbehaves on request.

The tests run it on a real port. To use it by hand, run ``python -m tests.harness.openai_peer 11434`` and, in another
terminal, ``twistd -n securechat --robot openai``. If a message is the name of a script below (``ollama``, ``vllm``,
``hang``, ``cut``, ``status 503``, …), the script determines the response. Any other message is repeated. There is no
web framework, because the scripts control the exact bytes and when they are sent.
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

KEY: Final = "sk-peer-0123456789abcdef"
TICK: Final = 0.001  # seconds between two writes that must arrive separately
HANG: Final = "hang"
CLOSE: Final = "close"
RESET: Final = "reset"
SSE: Final = {"Content-Type": "text/event-stream"}

Step = bytes | float | str  # bytes to send, seconds to wait, or an action
Script = Iterator[Step]


def chunk(content: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {**delta, **more}, "finish_reason": finish}],
    }


def data(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


USAGE: Final = {"id": "chatcmpl-1", "choices": [], "usage": {"total_tokens": 7}}
DONE: Final = data("[DONE]")
PINGS: Final[list["Step"]] = [b":\n\n", 0.02] * 500
THOUGHTS: Final[list["Step"]] = [data(chunk(reasoning="hm")), 0.1] * 3
PARTS: Final[list["Step"]] = [data(chunk([{"type": "thinking", "thinking": "hm"}])), 0.1] * 3
HTML: Final = b"<!DOCTYPE html><html><h1>502 Bad Gateway</h1>secret of the proxy</html>"


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body: bytes | Any, status: int = 200, **headers: str) -> Script:
    """A response with a Content-Length."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    yield head(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **given}) + body


def stream(*steps: Step, end: bool = True, headers: dict[str, str] = SSE) -> Script:
    """A chunked response with one chunk for each step of bytes; without `end`, the last step ends it."""
    yield head(200, {**headers, "Transfer-Encoding": "chunked"})
    for step in steps:
        yield b"%x\r\n%b\r\n" % (len(step), step) if isinstance(step, bytes) else step
    if end:
        yield b"0\r\n\r\n"


def says(*contents: str) -> list[Step]:
    return [data(chunk(content)) for content in contents]


def good(*contents: str) -> list[Step]:
    """A correct reply."""
    return [*says(*contents), data(chunk(finish="stop")), DONE]


def flat(*contents: str) -> bytes:
    """The bytes of a correct reply."""
    return b"".join(step for step in good(*contents) if isinstance(step, bytes))


def error(status: int, message: str = "the user said something", **more: Any) -> Script:
    return whole({"error": {"message": message, **more}}, status)


def completion(content: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def apart(text: bytes, size: int = 1) -> list[Step]:
    """The same bytes in separate segments."""
    steps: list[Step] = []
    for start in range(0, len(text), size):
        steps += [text[start : start + size], TICK]
    return steps


def bomb() -> bytes:
    """200 MiB of comments, compressed to some 200 KB."""
    return gzip.compress((b":" + b" " * 998 + b"\n") * (200 * 1024), 1)


def endless(first: bytes, step: bytes) -> Script:
    yield first
    while True:
        yield step
        yield 0.0


def flood(count: int) -> Script:
    """Tokens as fast as they are read, and more than fit into all buffers."""
    for _ in range(count):
        yield data(chunk("x" * 1000))
    yield from good()


SCRIPTS: Final[dict[str, Callable[[], Script]]] = {
    # Real servers
    "ollama": lambda: stream(
        *(data({**chunk(text, role="assistant"), "system_fingerprint": "fp_ollama"}) for text in ("Hel", "lo")),
        data(chunk("", "stop", role="assistant")),
        data(USAGE),
        DONE,
    ),
    "llama.cpp": lambda: stream(
        data({"choices": [{"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}]}),
        b":\n\n",
        *says("Hel", "lo"),
        data({**chunk(finish="stop"), "timings": {"predicted_n": 2}}),
        data(USAGE),
        DONE,
    ),
    "vllm": lambda: stream(
        data({**chunk("", role="assistant"), "usage": {"total_tokens": 1}}),
        data(chunk("Hel")),
        data({**chunk("lo", "stop"), "usage": {"total_tokens": 3}}),
        data(USAGE),
        DONE,
    ),
    "openrouter": lambda: stream(b": OPENROUTER PROCESSING\n\n", *good("Hel", "lo"), b": trailer\n\n"),
    # Comments
    "comments": lambda: stream(b": ping\n\n", *says("Hello"), *PINGS),
    "comments only": lambda: stream(*PINGS),
    # Line ends and fields of events
    "cr": lambda: stream(flat("Hello").replace(b"\n", b"\r")),
    "crlf": lambda: stream(*apart(flat("Hello").replace(b"\n", b"\r\n"), 7)),
    "fields": lambda: stream(
        b"\xef\xbb\xbfid: 1\nretry: 10\nevent: message\ndata:",
        b'{"choices":[{"delta":\n',
        b'data: {"content": "Hello"},\ndata:"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]",
    ),
    # Characters in pieces
    "bytes": lambda: stream(*apart(flat("汉字😀"))),
    "surrogates": lambda: stream(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"c\\ud83d"},"finish_reason":"stop"}]}\n\n',
        DONE,
    ),
    # Missing and empty fields
    "nulls": lambda: stream(
        data({"choices": None}),
        data({"object": "chat.completion.chunk"}),
        data({"choices": [None, {"delta": None}, 7]}),
        data({"choices": [{}]}),
        data({"choices": [{"delta": {"content": 7}, "finish_reason": ""}]}),
        data({"choices": [{"index": None, "delta": {"content": "Hello"}, "finish_reason": ""}]}),
        data({"choices": [{"index": 0, "finish_reason": "stop"}], "error": None}),
        DONE,
    ),
    "empty finish": lambda: stream(*says("Hel"), data(chunk("", "")), DONE),
    # Several choices
    "choices": lambda: stream(
        data({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "abort"}]}),
        data({"choices": [{"index": 1, "delta": {"content": "x"}}, {"index": 0, "delta": {"content": "Hello"}}]}),
        data(chunk(finish="stop")),
        data(USAGE),
        DONE,
    ),
    # Errors in a stream
    "error text": lambda: stream(*says("Hel"), data({"error": "the user said something"})),
    "error object": lambda: stream(
        *says("Hel"), data({"error": {"message": "the user said", "type": "server_error", "code": 500}}), DONE
    ),
    "error detail": lambda: stream(data({"detail": "the user said something"})),
    "error message": lambda: stream(data({"object": "error", "message": "the user said", "code": 400})),
    "error event": lambda: stream(*says("Hel"), b"event: error\n" + data({"message": "the user said"})),
    "error line": lambda: stream(
        *says("Hel"), b'error: {"code":500,"message":"the user said","type":"server_error"}\n\n'
    ),
    "error busy": lambda: stream(data({"error": {"message": "wait", "type": "overloaded_error"}})),
    "error whole": lambda: whole({"error": {"message": "the user said", "type": "server_error"}}),
    "error long": lambda: stream(
        data({"error": {"message": "the request exceeds the available context size", "code": 400}})
    ),
    # Truncated replies, and complete ones without an end
    "cut": lambda: stream(*says("Hel", "lo"), CLOSE, end=False),
    "cut clean": lambda: stream(*says("Hel", "lo")),
    "cut ollama": lambda: stream(*says("Hel"), data({"choices": [{"delta": {"content": ""}, "finish_reason": ""}]})),
    "cut in event": lambda: stream(*says("Hel"), data(chunk("lo", "stop"))[:-4]),
    "reset": lambda: stream(*says("Hel"), 0.02, RESET, end=False),
    "reset at once": lambda: iter([RESET]),
    "half a head": lambda: iter([b"HTTP/1.1 200 OK\r\nContent-", 0.02, RESET]),
    "no done": lambda: stream(*says("Hello"), data(chunk(finish="stop"))),
    "no blank line": lambda: stream(*says("Hel"), data(chunk("lo", "stop"))[:-1]),
    "no end": lambda: stream(*says("Hello"), data(chunk(finish="stop")), HANG),
    "no end after done": lambda: stream(*good("Hello"), HANG),
    "finish in every chunk": lambda: stream(
        data(chunk("H", "stop")), 0.1, data(chunk("el", "stop")), 0.1, data(chunk("lo", "stop")), DONE
    ),
    "finish in every chunk, hang": lambda: stream(data(chunk("Hel", "stop")), data(chunk("lo", "stop")), HANG),
    "null as text": lambda: stream(data(chunk("Hel", "null")), 0.1, data(chunk("lo", "null")), *good()),
    "cut after": lambda: stream(*good("Hello"), 0.02, RESET, end=False),
    # Aborted replies
    "abort": lambda: stream(*says("Hel"), DONE),
    "abort at once": lambda: stream(DONE),
    "abort finish": lambda: stream(*says("Hel"), data(chunk(finish="abort")), DONE),
    # Not streamed, or with another content type
    "whole": lambda: whole(completion("Hello")),
    "whole parts": lambda: whole(
        completion([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}])
    ),
    "whole as stream": lambda: whole(completion("Hello"), Content_Type="text/event-stream"),
    "stream as whole": lambda: stream(*good("Hello"), headers={"Content-Type": "application/json"}),
    # Pages of proxies
    "html": lambda: whole(HTML, Content_Type="text/html"),
    "html 502": lambda: whole(HTML, 502, Content_Type="text/html"),
    "html 404": lambda: whole(HTML, 404, Content_Type="text/html"),
    "html untold": lambda: whole(b"\n " + HTML),
    # Delays
    "hang": lambda: iter([HANG]),
    "hang after head": lambda: stream(HANG),
    "hang after role": lambda: stream(data(chunk("", role="assistant")), HANG),
    "hang between": lambda: stream(*says("Hel"), HANG),
    "hang in token": lambda: stream(*says("Hel"), data(chunk("lo"))[:20], HANG),
    "late": lambda: stream(0.4, *says("Hel"), *good("lo")),
    "slow": lambda: stream(*(step for text in ("H", "e", "l", "l", "o") for step in (*says(text), 0.1)), *good()),
    # Reasoning
    "reasoning": lambda: stream(
        data(chunk(reasoning="let me ")), data(chunk(None, reasoning_content="think")), *good("Hello")
    ),
    "think": lambda: stream(*good("<th", "ink>no <b>", "</", "thin", "k>\n", "\nHel", "lo <think>")),
    "think only": lambda: stream(*good("<think>hm")),
    "slow thought": lambda: stream(*THOUGHTS, *PARTS, *good("Hello")),
    # Statuses
    "busy": lambda: whole({"error": {"message": "wait", "type": "rate_limit_exceeded"}}, 429, Retry_After="7"),
    "busy date": lambda: whole({"error": "wait"}, 503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"),
    "loading": lambda: error(503, "Loading model", type="unavailable_error", code=503),
    "key": lambda: error(401, f"Incorrect API key provided: {KEY}", code="invalid_api_key"),
    "forbidden": lambda: error(403, "Your key lacks the permission", code="forbidden"),
    "blocked": lambda: whole(b"error code: 1010", 403, Content_Type="text/plain"),
    "blocked silently": lambda: whole(b"", 403),
    "extra": lambda: error(400, "Extra inputs are not permitted"),
    "no model 400": lambda: error(400, "Invalid model name passed in model=x. Call `/v1/models` to view models."),
    "key in code": lambda: error(401, "no", code=KEY),
    "no model": lambda: error(404, 'model "x" not found', type="not_found_error"),
    "too long": lambda: error(400, "shorten it", code="context_length_exceeded"),
    "too long vllm": lambda: whole(
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}, 400
    ),
    # Sizes, compression and garbage
    "line": lambda: stream(*list_of(b"data: ", b"x" * 65536, 40)),
    "event": lambda: stream(*list_of(b"", b"data: " + b"x" * 65536 + b"\n", 80)),
    "huge": lambda: stream(*list_of(b"", b":" + b" " * 65534 + b"\n", 1200)),
    "bomb": lambda: stream(bomb(), headers={**SSE, "Content-Encoding": "gzip"}),
    "gzip": lambda: stream(
        *apart(gzip.compress(flat("Hello")), 9),
        headers={**SSE, "Content-Encoding": "gzip"},
    ),
    "gzip members": lambda: stream(
        *(gzip.compress(step) for step in good("Hel", "lo") if isinstance(step, bytes)),
        headers={**SSE, "Content-Encoding": "gzip"},
    ),
    "gzip cut": lambda: stream(
        gzip.compress(data(chunk("Hello")))[:-9],
        headers={**SSE, "Content-Encoding": "gzip"},
    ),
    "gzip not": lambda: stream(*good("Hello"), headers={**SSE, "Content-Encoding": "gzip"}),
    "deflate": lambda: stream(*good("Hello"), headers={**SSE, "Content-Encoding": "deflate"}),
    "head": lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 8000 + b"\r\n"),
    "interim": lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "garbage": lambda: iter([b"\x00\xff\x13garbage\r\n\r\n", HANG]),
    "garbage in stream": lambda: stream(b"data: {]\n\n", *good()),
    "binary in stream": lambda: stream(bytes(range(256)) * 8, *good()),
    "array": lambda: stream(data([1]), *good()),
    # Back-pressure
    "flood": lambda: stream(*flood(30000)),
    # Redirects and cookies
    "redirect": lambda: whole(b"", 307, Location="http://127.0.0.1:1/elsewhere"),
    "cookie": lambda: whole(completion("Hello"), Set_Cookie="user=1; Path=/"),
    # Numbers of tokens
    "counted": lambda: stream(
        data({**chunk("Hel"), "usage": None}),
        *apart(data({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2, "details": {"x": 1}}}), 9),
        data(chunk(finish="stop")),
        DONE,
    ),
    "counted whole": lambda: whole({**completion("Hello"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
    "counted cut": lambda: stream(
        data({**chunk("Hel"), "usage": {"prompt_tokens": 11, "completion_tokens": 1}}), CLOSE, end=False
    ),
    # Ends
    "length": lambda: stream(*says("Hel"), data(chunk(finish="length")), DONE),
    "length only": lambda: stream(data(chunk(reasoning="hm")), data(chunk(finish="length")), DONE),
    "filter": lambda: stream(*says("Hel"), data(chunk(finish="content_filter")), DONE),
    "filter only": lambda: stream(data(chunk(finish="content_filter")), DONE),
    "refusal": lambda: stream(data(chunk(refusal="I must not.")), data(chunk(finish="stop")), DONE),
    "empty": lambda: stream(*good()),
    "good and close": lambda: iter([*stream(*good("Hello")), CLOSE]),
    "nothing": lambda: whole(b""),
}


def list_of(first: bytes, step: bytes, count: int) -> list[Step]:
    return [first + step, *[step] * (count - 1)]


class OpenAIPeer(Factory):
    """The server. `asked` are the requests; `lost` are the times at which clients disconnected during a response."""

    noisy = False

    def __init__(self, reactor: Any, models: list[str] | None = None, key: str | None = None) -> None:
        self.reactor = reactor
        self.models = ["peer-model"] if models is None else models
        self.key = key
        self.prefix = "/v1"
        self.unsuitable: set[str] = set()  # models that do not chat
        self.wants_max_completion_tokens = False
        self.extras_error: dict[str, Any] | None = None  # to requests with fields that are not needed
        self.models_script: Callable[[], Script] | None = None  # instead of the list of models
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.open = 0
        self.lost: list[float] = []
        self.sent = 0  # bytes

    async def stopped_sending(self) -> int:
        """Wait until no more bytes are sent, because the client does not read them; how many were sent."""
        sent = -1
        while sent < self.sent:
            sent = self.sent
            await deferLater(self.reactor, 0.1)
        return sent

    def buildProtocol(self, addr: object) -> "_Connection":
        self.connections += 1
        return _Connection(self)

    def script(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Script:
        """The response to a request."""
        self.paths.append(path)
        self.headers.append(headers)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "Incorrect API key provided", code="invalid_api_key")
        if (method, path) == ("GET", f"{self.prefix}/models"):
            if self.models_script is not None:
                return self.models_script()
            return whole({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        if (method, path) != ("POST", f"{self.prefix}/chat/completions"):
            return whole(b"404 page not found", 404, Content_Type="text/plain")
        asked = json.loads(body)
        self.asked.append(asked)
        if asked.get("model") in self.unsuitable:
            return error(400, f'"{asked["model"]}" does not support chat', type="invalid_request_error")
        if self.extras_error is not None and ("user" in asked or "stream_options" in asked):
            return whole(self.extras_error, 422)
        if self.wants_max_completion_tokens and "max_tokens" in asked:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        text = asked["messages"][-1]["content"]
        if text in SCRIPTS:
            return SCRIPTS[text]()
        if text.startswith("status "):
            return error(int(text.split()[1]))
        if not asked.get("stream"):
            return whole(completion(text))
        return stream(*good(*(word + " " for word in text.split(" "))))


class _Connection(Protocol):
    """One connection, with one request after another."""

    def __init__(self, peer: OpenAIPeer) -> None:
        self._peer = peer
        self._received = b""
        self._answer: Deferred[None] | None = None
        self._resumed: Deferred[None] | None = None  # set while the client does not read

    @property
    def _wire(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self._wire.setTcpNoDelay(True)
        self._wire.registerProducer(self, True)
        self._peer.open += 1

    def pauseProducing(self) -> None:
        self._resumed = Deferred()

    def resumeProducing(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        above, blank, body = self._received.partition(b"\r\n\r\n")
        first, *lines = above.decode("latin-1").split("\r\n")
        headers = {line.split(": ")[0].lower(): line.split(": ", 1)[-1] for line in lines}
        size = int(headers.get("content-length", 0))
        if not blank or len(body) < size:
            return
        self._received = body[size:]
        method, path, _version = first.split(" ")
        self._answer = Deferred.fromCoroutine(self._play(self._peer.script(method, path, headers, body[:size])))

    async def _play(self, script: Script) -> None:
        try:
            for step in script:
                if isinstance(step, bytes):
                    self._peer.sent += len(step)
                    self._wire.write(step)
                    if self._resumed is not None:
                        await self._resumed
                elif isinstance(step, float):
                    await deferLater(self._peer.reactor, step)
                elif step == HANG:
                    await Deferred()
                elif step == CLOSE:
                    self._wire.unregisterProducer()
                    self._wire.loseConnection()
                else:
                    self._wire.abortConnection()
        except CancelledError:
            self._peer.lost.append(self._peer.reactor.seconds())
        self._answer = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._peer.open -= 1
        if self._answer is not None:
            self._answer.cancel()


def main() -> None:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 11434
    port = reactor.listenTCP(number, OpenAIPeer(reactor), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/v1", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
