"""Ollama's interface over HTTP, and the description of models."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.interface import VERSION
from securechat.client.api.ollama.models import show, tags
from securechat.errors import Fault
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.local_api import Tool, get_bytes, request_bytes

JSON = Head(200, "application/json")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def post(path: str, **fields: Any) -> bytes:
    """A POST request."""
    return request_bytes(f"POST /api/{path} HTTP/1.1", body=json.dumps(fields).encode())


class InterfaceTests(SynchronousTestCase):
    """Requests, and what is forwarded."""

    def setUp(self) -> None:
        self.tool = Tool()

    def answer(self, data: bytes) -> Any:
        """The answer to a request that is not forwarded."""
        self.tool.connect()
        self.tool.send(data)
        self.assertEqual(self.tool.response.status, 200)
        self.assertEqual(self.tool.calls.started, [])
        return json.loads(self.tool.response.body)

    def error(self, data: bytes, status: int) -> str:
        """The message of an error in Ollama's format."""
        self.tool.connect()
        self.tool.send(data)
        self.assertEqual(self.tool.response.status, status)
        (message,) = json.loads(self.tool.response.body).values()
        assert isinstance(message, str)
        return message

    def test_version(self) -> None:
        """The version is that of the interface; editors require at least 0.6.4, codex 0.13.4."""
        self.assertEqual(self.answer(get_bytes("/api/version")), {"version": VERSION})
        self.assertGreaterEqual(tuple(map(int, VERSION.split("."))), (0, 13, 4))
        self.assertEqual(self.answer(get_bytes("/api/ps")), {"models": []})

    def test_head(self) -> None:
        """HEAD requests have no body in the response."""
        self.tool.send(get_bytes("/api/version", method="HEAD"))
        self.assertTrue(self.tool.received.endswith(b"\r\n\r\n"))

    def test_load(self) -> None:
        """A request without a message, with which tools load a model, is answered without the server."""
        found = self.answer(post("chat", model="m", messages=[]))
        self.assertEqual((found["done_reason"], found["message"]), ("load", {"role": "assistant", "content": ""}))
        found = self.answer(post("generate", model="m", keep_alive=0))
        self.assertEqual((found["done"], found["response"]), (True, ""))
        self.assertEqual(self.answer(post("embed", model="m", input=[])), {"model": "m", "embeddings": []})
        self.assertEqual(self.answer(post("embed", model="m", input="")), {"model": "m", "embeddings": []})
        self.assertEqual(self.answer(post("embeddings", model="m", prompt="")), {"embedding": []})

    def test_refused(self) -> None:
        """What would change the server's models is refused, with any method and any body."""
        for path in ("create", "pull", "push", "copy", "delete", "blobs/sha256:00"):
            for method in ("POST", "DELETE", "GET"):
                data = request_bytes(f"{method} /api/{path} HTTP/1.1", "Content-Length: 999\r\n", b"{")
                self.assertIn("does not change", self.error(data, 403))
        self.assertEqual(self.tool.calls.started, [])

    def test_errors(self) -> None:
        """Errors have Ollama's format."""
        self.error(get_bytes("/api/me"), 404)
        self.error(get_bytes("/api/chat"), 405)
        self.error(get_bytes("/api/tags", key="wrong"), 401)
        self.error(
            request_bytes("POST /api/chat HTTP/1.1", "Content-Type: text/plain\r\nContent-Length: 2\r\n", b"{}"), 415
        )
        for path in ("chat", "generate", "embed", "embeddings", "show"):
            self.assertIn("model is required", self.error(post(path), 400))
            self.error(post(path, model=1), 400)
        self.assertEqual(self.tool.calls.started, [])

    def test_chat(self) -> None:
        """A chat is a stream of lines, each in a chunk of its own."""
        self.tool.send(post("chat", **CHAT))
        call = self.tool.call
        self.assertEqual(call.path, "chat/completions")
        chunk = b'{"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}'
        call.receiver.itemsReceived([Head(200, "text/event-stream"), ServerEvent("", chunk)])
        self.assertIn(b'"Hello"', self.tool.received)
        call.receiver.ended()
        response = self.tool.response
        self.assertEqual(response.headers["content-type"], "application/x-ndjson")
        first, last = map(json.loads, response.body.splitlines())
        self.assertEqual((first["message"]["content"], last["done"]), ("Hello", True))

    def test_think(self) -> None:
        """A tool that wants no reasoning gets none, even if the server does not turn it off."""
        chunk = b'{"choices": [{"message": {"content": "a", "reasoning": "b"}}]}'
        requests: list[tuple[str, dict[str, Any]]] = [("chat", CHAT), ("generate", {"model": "m", "prompt": "Hi"})]
        for path, fields in requests:
            for think in (True, False):
                self.tool.connect()
                self.tool.send(post(path, **fields, think=think, stream=False))
                receiver = self.tool.calls.started[-1].receiver
                receiver.itemsReceived([JSON, Piece(chunk)])
                receiver.ended()
                self.assertEqual(b"thinking" in self.tool.response.body, think)

    def test_silence(self) -> None:
        """While the model is silent, the tool gets objects without text."""
        self.tool.send(post("chat", **CHAT))
        self.tool.clock.pump([60] + [15] * 3)
        self.assertEqual(self.tool.received.count(b'"content":""'), 3)
        self.tool.call.receiver.failed(Fault.TIMED_OUT)
        *_silence, error = map(json.loads, self.tool.response.body.splitlines())
        self.assertIn("timed out", error["error"])

    def test_fault(self) -> None:
        """A fault before the reply is an error with its status; when the session ends, the connection is reset."""
        self.tool.send(post("chat", **CHAT))
        self.tool.call.receiver.failed(Fault.UNREACHABLE)
        self.assertEqual(self.tool.response.status, 502)
        self.assertIn("unreachable", json.loads(self.tool.response.body)["error"])
        tool = Tool()
        tool.send(post("chat", **CHAT))
        tool.call.receiver.itemsReceived([Head(200, "text/event-stream")])
        tool.call.receiver.broken()
        self.assertTrue(tool.transport.is_reset)

    def test_badChunk(self) -> None:
        """An invalid chunk cancels the call."""
        self.tool.send(post("chat", **CHAT))
        self.tool.call.receiver.itemsReceived([Head(200, "text/event-stream"), ServerEvent("", b"{")])
        self.assertTrue(self.tool.call.is_cancelled)
        self.assertEqual(len(self.tool.response.body.splitlines()), 1)

    def test_latest(self) -> None:
        """Once the list of models is known, a model is requested by the name that the server has for it."""
        self.tool.send(get_bytes("/api/tags"))
        self.tool.call.receiver.itemsReceived([JSON, Piece(b'{"data": [{"id": "m:latest"}]}')])
        self.tool.call.receiver.ended()
        requests: list[tuple[str, dict[str, Any]]] = [
            ("chat", CHAT),
            ("generate", {"model": "m", "prompt": "Hi"}),
            ("embed", {"model": "m", "input": "Hi"}),
            ("embeddings", {"model": "m", "prompt": "Hi"}),
        ]
        for path, fields in requests:
            self.tool.connect()
            self.tool.send(post(path, **fields))
            self.assertEqual(json.loads(self.tool.calls.started[-1].body)["model"], "m:latest")

    def embedded(self, body: bytes, path: str = "embed", **fields: Any) -> Any:
        self.tool.connect()
        self.tool.send(post(path, model="m", **fields))
        receiver = self.tool.calls.started[-1].receiver
        receiver.itemsReceived([JSON, Piece(body)])
        receiver.ended()
        return json.loads(self.tool.response.body)

    def test_embeddings(self) -> None:
        """The numbers of embeddings are as the server wrote them."""
        body = b'{"data": [{"embedding": [1.50, 1e-9]}], "usage": {"prompt_tokens": 2}}'
        expected = {"model": "m", "embeddings": [[1.5, 1e-9]], "prompt_eval_count": 2}
        self.assertEqual(self.embedded(body, input="a"), expected)
        self.assertIn(b"1.50, 1e-9", self.tool.response.body)
        body = b'{"data": [{"embedding": [1.50]}]}'
        self.assertEqual(self.embedded(body, input=["a"]), {"model": "m", "embeddings": [[1.5]]})
        self.assertEqual(self.embedded(body, "embeddings", prompt="a"), {"embedding": [1.5]})
        body = b'{"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]}'
        self.assertEqual(self.embedded(body, input=["a", "b"])["embeddings"], [[1], [2]])
        self.assertEqual(self.embedded(b'{"data": []}', "embeddings", prompt="a"), {"embedding": []})
        for invalid in (
            b"{}",
            b'{"data": [{"embedding": "AACAPw=="}]}',
            b'{"data": [{}]}',
            b'{"data": [{"embedding": {}}]}',
        ):
            self.assertIn("not valid", self.embedded(invalid, input="a")["error"])
            self.assertEqual(self.tool.response.status, 502)


class ModelTests(SynchronousTestCase):
    """The description of models."""

    def show(self, **fields: Any) -> Any:
        """The description of a model that the server describes like this."""
        return json.loads(show(json.dumps([{"id": "m"} | fields]).encode(), "m", "m"))

    def test_tags(self) -> None:
        """Each model has all fields that tools rely on; no two have the same digest."""
        body = {
            "data": [{"id": "a", "created": 1_700_000_000}, {"id": "b", "created": "x"}, {"id": "c", "created": 10**20}]
        }
        models = json.loads(tags(json.dumps(body).encode()))["models"]
        self.assertEqual([(model["name"], model["model"]) for model in models], [("a", "a"), ("b", "b"), ("c", "c")])
        self.assertEqual(len({model["digest"] for model in models}), 3)
        self.assertEqual([model["modified_at"][:4] for model in models], ["2023", "1970", "1970"])
        fields = {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}
        self.assertEqual([set(model["details"]) for model in models], [fields] * 3)
        self.assertEqual([model["size"] for model in models], [0, 0, 0])

    def test_show(self) -> None:
        """A model has a name, the length of its context and capabilities."""
        found = json.loads(show(b'["m:latest"]', "m:latest", "m"))
        info = found["model_info"]
        self.assertEqual(info["general.basename"], "m")
        self.assertEqual(info[f"{info['general.architecture']}.context_length"], 32_768)
        for key in ("modelfile", "parameters", "template", "details", "capabilities", "modified_at"):
            self.assertIn(key, found)

    def test_context(self) -> None:
        """The length of the context is what the server says, under any of its names."""
        for fields in (
            {"context_length": 8192},
            {"max_model_len": 8192},
            {"context_window": 8192},
            {"max_context_length": 8192},
            {"meta": {"n_ctx_train": 8192}},
            {"meta": {"n_ctx": 8192, "n_ctx_train": 9000}},
        ):
            self.assertEqual(self.show(**fields)["model_info"]["unknown.context_length"], 8192)
        for value in (0, -1, "8192", True, None):
            self.assertEqual(self.show(max_model_len=value)["model_info"]["unknown.context_length"], 32_768)

    def test_capabilities(self) -> None:
        """Capabilities are what the server says, or all that tools ask for; embedding models are known by name."""
        self.assertEqual(self.show()["capabilities"], ["completion", "tools", "vision"])
        self.assertEqual(
            self.show(capabilities=["completion", "x", 1, "thinking"])["capabilities"], ["completion", "thinking"]
        )
        for given in ([], ["x"], {"vision": True}, None):
            self.assertEqual(self.show(capabilities=given)["capabilities"], ["completion", "tools", "vision"])
        for modalities, sees in [(["text"], False), (["text", "image"], True), ("text", True)]:
            found = self.show(architecture={"input_modalities": modalities})
            self.assertEqual("vision" in found["capabilities"], sees)
        self.assertIn("vision", self.show(architecture="llama")["capabilities"])
        for name in ("nomic-embed-text", "bge-m3:latest", "all-minilm", "intfloat/e5-large"):
            found = json.loads(show(json.dumps([name]).encode(), name, name))
            self.assertEqual(found["capabilities"], ["embedding"])

    def test_unknown(self) -> None:
        """A model that is not in the list is not found."""
        with self.assertRaises(HttpError) as caught:
            show(b'["m"]', "n", "n" * 1000)
        self.assertEqual(caught.exception.status, 404)
        self.assertLess(len(caught.exception.message), 300)
        with self.assertRaises(HttpError):
            tags(b"{}")
