"""Requests of Ollama's tools as the server gets them."""

import base64
import json
from typing import Any

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.messages import Function, Message, ToolCall, openai_messages
from securechat.client.api.ollama.requests import (
    ChatRequest,
    GenerateRequest,
    ShowRequest,
    chat_body,
    decode_request,
    generate_body,
)


def chat(**fields: Any) -> dict[str, Any]:
    """The body that a request of /api/chat becomes."""
    request = decode_request(json.dumps({"model": "m"} | fields).encode(), ChatRequest)
    body: dict[str, Any] = json.loads(chat_body(request, "m"))
    return body


def generate(**fields: Any) -> dict[str, Any]:
    """The body that a request of /api/generate becomes."""
    request = decode_request(json.dumps({"model": "m"} | fields).encode(), GenerateRequest)
    body: dict[str, Any] = json.loads(generate_body(request, "m"))
    return body


class FieldTests(SynchronousTestCase):
    """The fields beside the messages."""

    def test_stream(self) -> None:
        """A reply is a stream unless the tool wants none; the number of tokens is requested with it."""
        usage = {"include_usage": True}
        self.assertEqual(chat(), {"model": "m", "stream": True, "stream_options": usage, "messages": []})
        self.assertEqual(chat(stream=None)["stream"], True)
        self.assertEqual(chat(stream=False), {"model": "m", "stream": False, "messages": []})

    def test_options(self) -> None:
        """Options that OpenAI's interface has are passed on as they are written; the others are left out."""
        options = {
            "temperature": 0.10,
            "top_p": 1,
            "seed": 2**70,
            "stop": ["a", "b"],
            "presence_penalty": -1.5,
            "frequency_penalty": None,
            "num_predict": 7,
            "num_ctx": 4096,
            "top_k": 40,
        }
        body = chat(options=options, keep_alive=-1)
        del options["num_ctx"], options["top_k"], options["frequency_penalty"]
        del body["model"], body["messages"], body["stream"], body["stream_options"]
        options["max_tokens"] = options.pop("num_predict")
        self.assertEqual(body, options)

    def test_limit(self) -> None:
        """A limit of 0 or less is none."""
        for limit, expected in [(1, 1), (9.0, 9), (0, None), (-1, None), (-2, None), (None, None)]:
            self.assertEqual(chat(options={"num_predict": limit}).get("max_tokens"), expected)
        with self.assertRaises(HttpError):
            chat(options={"num_predict": "many"})

    def test_format(self) -> None:
        """`format` is "json", a schema or nothing."""
        schema = {"type": "object", "x": [1, 2.50]}
        cases: list[tuple[Any, Any]] = [
            (None, None),
            ("", None),
            ("json", {"type": "json_object"}),
            (schema, {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}),
        ]
        for value, expected in cases:
            self.assertEqual(chat(format=value).get("response_format"), expected)
            self.assertEqual(generate(format=value).get("response_format"), expected)
        invalid: list[Any] = ["xml", 1, []]
        for value in invalid:
            with self.assertRaises(HttpError) as caught:
                chat(format=value)
            self.assertEqual(caught.exception.status, 400)

    def test_think(self) -> None:
        """Reasoning can be turned off or set to an effort; a model that reasons does so without being asked to."""
        for value, expected in [(None, None), (True, None), (False, "none"), ("high", "high"), ("", None)]:
            self.assertEqual(chat(think=value).get("reasoning_effort"), expected)

    def test_logprobs(self) -> None:
        """The probabilities of tokens are requested in the same way."""
        self.assertNotIn("logprobs", chat(logprobs=False, top_logprobs=2))
        body = chat(logprobs=True, top_logprobs=2)
        self.assertEqual((body["logprobs"], body["top_logprobs"]), (True, 2))

    def test_tools(self) -> None:
        """Tools are passed on as they are."""
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"x": 1.0}}}]
        self.assertEqual(chat(tools=tools)["tools"], tools)
        self.assertNotIn("tools", chat(tools=[]))

    def test_generate(self) -> None:
        """A prompt is a message of the user; with `suffix` or `raw` it is a text to be continued."""
        system = {"role": "system", "content": "s"}
        self.assertEqual(generate(prompt="p")["messages"], [{"role": "user", "content": "p"}])
        self.assertEqual(generate(prompt="p", system="s")["messages"], [system, {"role": "user", "content": "p"}])
        self.assertEqual(generate(images=["iVBORw0KGgo"])["messages"][0]["content"][0]["type"], "image_url")
        self.assertEqual(generate(prompt="p", suffix="")["messages"], [{"role": "user", "content": "p"}])
        body = generate(prompt="p", suffix="s", system="x")
        self.assertEqual((body["prompt"], body["suffix"]), ("p", "s"))
        self.assertNotIn("messages", body)
        body = generate(prompt="p", raw=True)
        self.assertEqual(body["prompt"], "p")
        self.assertNotIn("suffix", body)

    def test_model(self) -> None:
        """The model is required; old tools call it `name`."""
        self.assertEqual(decode_request(b'{"name": "m"}', ShowRequest).requested, "m")
        with self.assertRaises(HttpError) as caught:
            _ = decode_request(b"{}", ShowRequest).requested
        self.assertEqual(caught.exception.status, 400)

    def test_invalid(self) -> None:
        """An invalid request is refused with an error that has nothing of its content."""
        for body in (
            b"",
            b"[]",
            b'{"model": 1}',
            b'{"model": "secret"',
            b'{"model": "m", "messages": ["secret"]}',
            b'{"model": "m", "messages": [{"role": "user", "content": ["secret"]}]}',
            b'{"model": "m", "options": "secret"}',
            b'{"model": "m", "think": ["secret"]}',
            b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
            b'{"model": "m", "tools": ' + b"[" * 100_000,
            b'"secret \xff',
            b'{"model": "m", "format": "secret \xff"}',
        ):
            with self.assertRaises(HttpError) as caught:
                decode_request(body, ChatRequest)
            self.assertEqual(caught.exception.status, 400)
            self.assertNotIn("secret", caught.exception.message)


class MessageTests(SynchronousTestCase):
    """The messages of a conversation."""

    def test_text(self) -> None:
        """Roles are in lower case; reasoning is passed on; content may be missing."""
        messages = [Message("System", "a"), Message("user", "b"), Message("assistant", None, "hm")]
        self.assertEqual(
            openai_messages(messages),
            [
                {"role": "system", "content": "a"},
                {"role": "user", "content": "b"},
                {"role": "assistant", "content": "", "reasoning": "hm"},
            ],
        )

    def test_images(self) -> None:
        """The type of an image is recognized by its first bytes; sounds come as images, too."""
        for data, expected in [
            (b"\x89PNG\r\n\x1a\n1234567890", "image/png"),
            (b"\xff\xd8\xff\xe01234567890", "image/jpeg"),
            (b"GIF89a1234567890", "image/gif"),
            (b"BM1234567890", "image/bmp"),
            (b"RIFF\0\0\0\0WEBP1234", "image/webp"),
            (b"1234567890", "image/jpeg"),
            (b"", "image/jpeg"),
            (b"RIFF\0\0\0\0WAVE1234", "wav"),
            (b"ID3\x041234567890", "mp3"),
            (b"\xff\xfb1234567890", "mp3"),
        ]:
            encoded = base64.b64encode(data).decode()
            (message,) = openai_messages([Message("user", images=[encoded])])
            (part,) = message["content"]
            if part["type"] == "input_audio":
                self.assertEqual(part["input_audio"], {"data": encoded, "format": expected})
            else:
                self.assertEqual(part["image_url"]["url"], f"data:{expected};base64,{encoded}")
        url = "data:image/png;base64,iVBORw0KGgo"
        (message,) = openai_messages([Message("user", "a", images=[url, "a"])])
        self.assertEqual(message["content"][0], {"type": "text", "text": "a"})
        self.assertEqual(message["content"][1], {"type": "image_url", "image_url": {"url": url}})
        self.assertEqual(message["content"][2], {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,a"}})

    def results(self, calls: list[tuple[str, str | None]], results: list[tuple[str | None, str | None]]) -> list[str]:
        """The ids of results, by their names and given ids, after calls by their names and given ids."""
        called = [ToolCall(Function(name), identifier) for name, identifier in calls]
        answers = [Message("tool", "r", tool_name=name, tool_call_id=identifier) for name, identifier in results]
        first, *others = openai_messages([Message("assistant", tool_calls=called), *answers])
        self.assertEqual(len({call["id"] for call in first["tool_calls"]}), len(calls))
        names = {call["id"]: str(number) for number, call in enumerate(first["tool_calls"])}
        return [names.get(other["tool_call_id"], "?") for other in others]

    def test_callIds(self) -> None:
        """Each result is that of the first call of its name without a result, or of the first call at all."""
        two: list[tuple[str, str | None]] = [("f", None), ("g", None)]
        self.assertEqual(self.results(two, [("f", None), ("g", None)]), ["0", "1"])
        self.assertEqual(self.results(two, [("g", None), ("f", None)]), ["1", "0"])
        self.assertEqual(self.results(two, [(None, None), (None, None), (None, None)]), ["0", "1", "?"])
        self.assertEqual(self.results(two, [("h", None), ("f", None)]), ["0", "1"])
        self.assertEqual(self.results([("f", None), ("f", None)], [("f", None), ("f", None)]), ["0", "1"])
        self.assertEqual(self.results([("f", "x"), ("g", "y")], [("f", "y"), ("g", None)]), ["1", "0"])

    def test_names(self) -> None:
        """Old tools name the function in `name`."""
        called = [ToolCall(Function("f")), ToolCall(Function("g"))]
        first, answer = openai_messages([Message("assistant", tool_calls=called), Message("tool", "r", name="g")])
        self.assertEqual(answer["tool_call_id"], first["tool_calls"][1]["id"])

    def test_arguments(self) -> None:
        """Arguments become a string that contains them as they were written."""
        request = b"""{"model": "m", "messages": [{"role": "assistant", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1.50, "b": 123456789012345678901}}},
            {"function": {"name": "f", "arguments": "{\\"a\\": 1}"}},
            {"function": {"name": "f"}}]}]}"""
        body = json.loads(chat_body(decode_request(request, ChatRequest), "m"))
        calls = body["messages"][0]["tool_calls"]
        self.assertEqual(
            [call["function"]["arguments"] for call in calls],
            ['{"a": 1.50, "b": 123456789012345678901}', '{"a": 1}', "{}"],
        )
        self.assertEqual([call["type"] for call in calls], ["function"] * 3)
        self.assertEqual(Function("f").arguments, Raw(b"{}"))
