"""The package `ollama` as a tool of the local API, over a real connection."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorTime
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from securechat.client.api.calls import Receiver
from securechat.client.api.door import DoorSettings
from securechat.client.api.site import make_site
from securechat.errors import Fault
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.local_api import KEY, FakeCall, FakeLog

try:
    import ollama
except ImportError:
    MISSING = "the package ollama is not installed"
else:
    MISSING = ""

PNG = b"\x89PNG\r\n\x1a\n0123"
MODELS = {"object": "list", "data": [{"id": "llama3.2:1b", "created": 1_700_000_000}, {"id": "bge-m3:latest"}]}


class IReactor(IReactorTCP, IReactorTime, IReactorCore):
    """What the tests need of the reactor."""


REACTOR: IReactor = reactor  # type: ignore[assignment]


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}).encode()


USAGE = json.dumps({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}).encode()
DONE = b"[DONE]"


class Server:
    """A server behind the local API that responds to each request with the same."""

    def __init__(self) -> None:
        self.max_body = 2**24
        self.requests: list[tuple[str, Any]] = []
        self.response: list[Head | Piece | ServerEvent] = []
        self.end: Callable[[Receiver], object] = lambda receiver: receiver.ended()

    def start(self, path: str, body: bytes, receiver: Receiver) -> FakeCall:
        self.requests.append((path, json.loads(body) if body else None))
        for item in self.response:
            REACTOR.callLater(0, receiver.itemsReceived, [item])
        REACTOR.callLater(0, self.end, receiver)
        return FakeCall(path, body, receiver)

    def streams(self, *events: bytes) -> None:
        """Respond with a stream."""
        self.response = [Head(200, "text/event-stream"), *(ServerEvent("", event) for event in events)]

    def sends(self, body: Any, status: int = 200) -> None:
        """Respond with a JSON body."""
        self.response = [Head(status, "application/json"), Piece(json.dumps(body).encode())]

    @property
    def request(self) -> tuple[str, Any]:
        """The only request; its path and its body."""
        (request,) = self.requests
        return request


class PackageTests(TestCase):
    """Requests of the package, and what it makes of the responses."""

    if MISSING:
        skip = MISSING

    def setUp(self) -> None:
        self.server = Server()
        site = make_site(self.server, DoorSettings(KEY), FakeLog(), REACTOR)
        port: Any = REACTOR.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{port.getHost().port}"
        self.client: Any = ollama.Client(url, headers=headers, trust_env=False)
        self.addCleanup(self.client.close)

    def chat(self, **arguments: Any) -> Deferred[Any]:
        """The response to a request of chat()."""
        arguments = {"model": "llama3.2:1b", "messages": [{"role": "user", "content": "Hi"}]} | arguments
        return deferToThread(self.client.chat, **arguments)

    def stream(self, **arguments: Any) -> Deferred[list[Any]]:
        """All parts of a streamed response of chat(); an exception is the last of them."""

        def read() -> Iterator[Any]:
            try:
                yield from self.client.chat(
                    "llama3.2:1b", [{"role": "user", "content": "Hi"}], stream=True, **arguments
                )
            except Exception as error:
                yield error

        return deferToThread(lambda: list(read()))

    async def test_stream(self) -> None:
        """A streamed reply arrives in parts, with the model's reasoning and the number of tokens."""
        self.server.streams(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({}, "stop"),
            USAGE,
            DONE,
        )
        parts = await self.stream(options={"temperature": 0.5, "num_predict": 9, "num_ctx": 4096}, keep_alive="5m")
        self.assertEqual([part.message.content for part in parts], ["", "Hel", "lo", ""])
        self.assertEqual([part.message.thinking for part in parts], ["Hm.", None, None, None])
        self.assertEqual([part.done for part in parts], [False, False, False, True])
        last = parts[-1]
        self.assertEqual((last.done_reason, last.prompt_eval_count, last.eval_count), ("stop", 11, 3))
        self.assertGreater(last.total_duration, 0)
        self.assertEqual(
            self.server.request,
            (
                "chat/completions",
                {
                    "model": "llama3.2:1b",
                    "messages": [{"role": "user", "content": "Hi"}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "temperature": 0.5,
                    "max_tokens": 9,
                },
            ),
        )

    async def test_whole(self) -> None:
        """A reply without a stream is one object."""
        message = {"role": "assistant", "content": "Hello", "reasoning": "Hm."}
        usage = {"prompt_tokens": 11, "completion_tokens": 3}
        self.server.sends({"choices": [{"index": 0, "message": message, "finish_reason": "length"}], "usage": usage})
        response = await self.chat(think="low")
        self.assertEqual((response.message.content, response.message.thinking), ("Hello", "Hm."))
        self.assertEqual((response.done, response.done_reason, response.eval_count), (True, "length", 3))
        _path, body = self.server.request
        self.assertEqual((body["stream"], body["reasoning_effort"]), (False, "low"))

    async def test_tools(self) -> None:
        """Functions are offered to the model, and its calls have arguments by name; the results go back to it."""

        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        self.server.streams(
            chunk({"tool_calls": [{"index": 0, "id": "x1", "function": {"name": "add", "arguments": ""}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1,'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "b": 2}'}}]}),
            chunk({}, "tool_calls"),
            DONE,
        )
        first, last = await self.stream(tools=[add])
        (call,) = first.message.tool_calls
        self.assertEqual((call.function.name, dict(call.function.arguments)), ("add", {"a": 1, "b": 2}))
        self.assertEqual((last.done, last.done_reason, last.message.tool_calls), (True, "stop", None))
        (tool,) = self.server.request[1]["tools"]
        self.assertEqual((tool["type"], tool["function"]["name"]), ("function", "add"))
        self.assertEqual(tool["function"]["parameters"]["required"], ["a", "b"])

        self.server.requests.clear()
        self.server.sends({"choices": [{"message": {"content": "3"}, "finish_reason": "stop"}]})
        result = {"role": "tool", "content": "3", "tool_name": "add"}
        response = await self.chat(messages=[{"role": "user", "content": "1+2?"}, first.message, result])
        self.assertEqual(response.message.content, "3")
        _question, asked, answered = self.server.request[1]["messages"]
        self.assertEqual(json.loads(asked["tool_calls"][0]["function"]["arguments"]), {"a": 1, "b": 2})
        self.assertEqual(answered["tool_call_id"], asked["tool_calls"][0]["id"])

    async def test_images(self) -> None:
        """An image goes to the model as a data URL."""
        self.server.sends({"choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}]})
        response = await self.chat(messages=[{"role": "user", "content": "What is it?", "images": [PNG]}])
        self.assertEqual(response.message.content, "a cat")
        text, image = self.server.request[1]["messages"][0]["content"]
        self.assertEqual(text, {"type": "text", "text": "What is it?"})
        data = base64.b64encode(PNG).decode()
        self.assertEqual(image, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})

    async def test_format(self) -> None:
        """A format, JSON or a schema, becomes a response format."""
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        self.server.sends({"choices": [{"message": {"content": '{"n": 1}'}, "finish_reason": "stop"}]})
        await self.chat(format="json")
        await self.chat(format=schema)
        formats = [body["response_format"] for _path, body in self.server.requests]
        self.assertEqual(formats[0], {"type": "json_object"})
        self.assertEqual(formats[1]["json_schema"]["schema"], schema)

    async def test_errors(self) -> None:
        """An error response is an exception with its status and message."""
        self.server.sends({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
        for response in (self.stream(), self.chat()):
            try:
                found = (await response)[0]
            except ollama.ResponseError as error:
                found = error
            self.assertEqual((found.status_code, found.error), (404, "no such model"))

    async def test_lateErrors(self) -> None:
        """An error within a stream is an exception after the parts that have arrived; there is no last part."""
        self.server.streams(chunk({"content": "Hel"}), b'{"error": {"message": "out of memory"}}')
        part, error = await self.stream()
        self.assertEqual((part.message.content, error.error), ("Hel", "out of memory"))

        self.server.streams(chunk({"content": "Hel"}))
        self.server.end = lambda receiver: receiver.failed(Fault.TIMED_OUT)
        part, error = await self.stream()
        self.assertIn("timed out", error.error)

    async def test_cut(self) -> None:
        """When the session ends, so does the connection: the reply is not taken for complete."""
        self.server.streams(chunk({"content": "Hel"}))
        self.server.end = lambda receiver: receiver.broken()
        *_parts, error = await self.stream()
        self.assertEqual(type(error).__module__, "httpx")

    async def test_models(self) -> None:
        """The models of the server are listed and described, with one request within a minute."""
        self.server.sends(MODELS)
        listed = await deferToThread(self.client.list)
        self.assertEqual([model.model for model in listed.models], ["llama3.2:1b", "bge-m3:latest"])
        self.assertEqual(listed.models[0].modified_at.year, 2023)
        shown = await deferToThread(self.client.show, "llama3.2:1b")
        self.assertIn("tools", shown.capabilities)
        self.assertEqual(shown.modelinfo["general.basename"], "llama3.2:1b")
        shown = await deferToThread(self.client.show, "bge-m3")
        self.assertEqual(shown.capabilities, ["embedding"])
        self.assertEqual((await deferToThread(self.client.ps)).models, [])
        self.assertEqual(self.server.request, ("models", None))
        error = await self.assertFailure(deferToThread(self.client.show, "other"), ollama.ResponseError)
        self.assertEqual(error.status_code, 404)

    async def test_generate(self) -> None:
        """A prompt is answered, or continued."""
        self.server.streams(chunk({"content": "Hello"}), chunk({}, "stop"), DONE)
        parts = await deferToThread(lambda: list(self.client.generate("m", "Hi", system="Be kind.", stream=True)))
        self.assertEqual([part.response for part in parts], ["Hello", ""])
        roles = [message["role"] for message in self.server.requests[0][1]["messages"]]
        self.assertEqual(roles, ["system", "user"])

        self.server.sends({"choices": [{"text": "b = 2", "finish_reason": "stop"}]})
        response = await deferToThread(self.client.generate, "m", "a = 1\n", suffix="\nc = 3")
        self.assertEqual(response.response, "b = 2")
        path, body = self.server.requests[1]
        self.assertEqual((path, body["prompt"], body["suffix"]), ("completions", "a = 1\n", "\nc = 3"))

        response = await deferToThread(self.client.generate, "m", "")
        self.assertEqual((response.done, response.done_reason), (True, "load"))

    async def test_embed(self) -> None:
        """Embeddings come in the order of the inputs."""
        data = [{"index": 1, "embedding": [0.25, -1e-7]}, {"index": 0, "embedding": [1, 2.5]}]
        self.server.sends({"data": data, "usage": {"prompt_tokens": 4}})
        response = await deferToThread(self.client.embed, "bge-m3", ["a", "b"], dimensions=2)
        self.assertEqual([list(vector) for vector in response.embeddings], [[1.0, 2.5], [0.25, -1e-7]])
        self.assertEqual(response.prompt_eval_count, 4)
        path, body = self.server.requests[0]
        self.assertEqual((path, body["input"], body["dimensions"]), ("embeddings", ["a", "b"], 2))
        old = await deferToThread(self.client.embeddings, "bge-m3", "a")
        self.assertEqual(list(old.embedding), [1.0, 2.5])

    async def test_refused(self) -> None:
        """Models cannot be changed."""
        for refused in (
            lambda: self.client.pull("m"),
            lambda: self.client.push("m"),
            lambda: self.client.create("m", from_="n"),
            lambda: self.client.copy("m", "n"),
            lambda: self.client.delete("m"),
        ):
            error = await self.assertFailure(deferToThread(refused), ollama.ResponseError)
            self.assertEqual(error.status_code, 403)
            self.assertIn("does not change", error.error)
        self.assertEqual(self.server.requests, [])
