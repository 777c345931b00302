"""Replies of the server as Ollama's tools get them."""

import contextlib
import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.writer import ResultWriter
from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.characters import Characters, whole_characters
from securechat.client.api.ollama.dialects import StreamDialect, WholeDialect, reply_dialect
from securechat.client.api.ollama.lines import Lines
from securechat.client.api.ollama.reply import Reply
from securechat.client.api.ollama.responses import FunctionPart, ToolCallPart
from securechat.client.api.ollama.tool_calls import ToolCalls
from securechat.wire.items import Head, ItemReader, Piece, ServerEvent

STREAM = Head(200, "text/event-stream")
JSON = Head(200, "application/json")
DONE = b"[DONE]"


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}).encode()


def text(content: str) -> bytes:
    return chunk({"content": content})


def tool_call(
    index: int | None = None, identifier: str | None = None, name: str | None = None, arguments: Any = None
) -> bytes:
    """A chunk with a part of a tool call; what is None is missing."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    part = {"function": function, "index": index, "id": identifier, "type": "function"}
    return chunk({"tool_calls": [{key: value for key, value in part.items() if value is not None}]})


class Clock:
    """A clock that stands still, for `now`."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


class Stream:
    """A streamed reply, and what the tool gets."""

    def __init__(self, *, is_chat: bool = True, shows_thinking: bool = True) -> None:
        self.now = Clock()
        self.dialect = StreamDialect(Reply(shows_thinking=shows_thinking), Lines("m", is_chat=is_chat, now=self.now))
        self.heads: list[Head] = []
        self.written = b""

    def write(self, parts: Iterable[Head | bytes]) -> None:
        for part in parts:
            if isinstance(part, Head):
                self.heads.append(part)
            else:
                assert self.heads
                self.written += part

    def receive(self, *items: Head | Piece | ServerEvent) -> None:
        self.write(self.dialect.items(list(items)))

    def events(self, *events: bytes) -> list[dict[str, Any]]:
        """The objects that a whole stream becomes."""
        self.receive(STREAM, *(ServerEvent("", event) for event in events))
        self.write(self.dialect.end())
        return self.objects

    @property
    def objects(self) -> list[dict[str, Any]]:
        assert not self.written or self.written.endswith(b"\n")
        return [json.loads(line) for line in self.written.splitlines()]


def whole(body: Any, *, is_chat: bool = True, shows_thinking: bool = True) -> dict[str, Any]:
    """The object that a response without a stream becomes."""
    dialect = reply_dialect(
        Reply(shows_thinking=shows_thinking), Lines("m", is_chat=is_chat, now=Clock()), is_stream=False
    )
    assert list(dialect.items([JSON, Piece(json.dumps(body).encode())])) == []
    head, written = dialect.end()
    assert head == JSON
    assert isinstance(written, bytes)
    found: dict[str, Any] = json.loads(written)
    return found


class StreamTests(SynchronousTestCase):
    """Replies as streams."""

    def test_chat(self) -> None:
        """Each chunk with text is an object; the last one says why the reply has ended, and how long it took."""
        stream = Stream()
        stream.receive(STREAM, ServerEvent("", chunk({"role": "assistant", "content": ""})))
        self.assertEqual(stream.heads, [Head(200, "application/x-ndjson")])
        self.assertEqual(stream.objects, [])
        stream.now.time += 2
        stream.receive(ServerEvent("", text("Hel")))
        stream.now.time += 3
        stream.receive(ServerEvent("", text("lo")), ServerEvent("", chunk({}, "stop")))
        usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
        stream.receive(ServerEvent("", json.dumps({"choices": [], "usage": usage}).encode()), ServerEvent("", DONE))
        stream.write(stream.dialect.end())
        created = {"model": "m", "created_at": "2023-11-14T22:13:22Z"}
        later = created | {"created_at": "2023-11-14T22:13:25Z"}
        self.assertEqual(
            stream.objects,
            [
                created | {"message": {"role": "assistant", "content": "Hel"}, "done": False},
                later | {"message": {"role": "assistant", "content": "lo"}, "done": False},
                later
                | {
                    "message": {"role": "assistant", "content": ""},
                    "done": True,
                    "done_reason": "stop",
                    "total_duration": 5_000_000_000,
                    "load_duration": 0,
                    "prompt_eval_count": 4,
                    "prompt_eval_duration": 2_000_000_000,
                    "eval_count": 2,
                    "eval_duration": 3_000_000_000,
                },
            ],
        )

    def test_usage(self) -> None:
        """The last number of tokens counts, whichever chunk it comes with."""
        first, second = ({"prompt_tokens": 4, "completion_tokens": count} for count in (1, 2))
        last = Stream().events(chunk({}, usage=first), chunk({}, usage=second), chunk({}, "stop", usage=None))[-1]
        self.assertEqual((last["prompt_eval_count"], last["eval_count"]), (4, 2))
        self.assertNotIn("eval_count", Stream().events(DONE)[-1])

    def test_generate(self) -> None:
        """For /api/generate, the text is the response; completions have it elsewhere."""
        completion = b'{"choices": [{"index": 0, "text": "b", "finish_reason": null}]}'
        chat = chunk({"content": "c", "reasoning": "d"})
        first, second, _last = Stream(is_chat=False).events(completion, chat, chunk({}, "length"))
        self.assertEqual((first["response"], second["response"], second["thinking"]), ("b", "c", "d"))
        self.assertNotIn("message", first)

    def test_thinking(self) -> None:
        """Reasoning is shown apart, under each of its names, once, and unless the tool wants none."""
        events = (
            chunk({"reasoning_content": "a"}),
            chunk({"reasoning": "b", "reasoning_content": ""}),
            chunk({"reasoning": "c", "reasoning_content": "c", "content": None}),
            text("d"),
            DONE,
        )
        *objects, _last = Stream().events(*events)
        self.assertEqual([found["message"].get("thinking") for found in objects], ["a", "b", "c", None])
        (found, _last) = Stream(shows_thinking=False).events(*events)
        self.assertEqual(found["message"], {"role": "assistant", "content": "d"})

    def test_content(self) -> None:
        """Content may be a list of parts, of which the text counts; chunks of other choices do not."""
        parts = [{"type": "text", "text": "a"}, {"type": "image"}, 1, {"text": "b"}]
        other = b'{"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": null}]}'
        (found, _last) = Stream().events(chunk({"content": parts}), other, b'{"choices": null}', DONE)
        self.assertEqual(found["message"]["content"], "ab")

    def test_logprobs(self) -> None:
        """The probabilities of tokens are passed on."""
        tokens = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
        event = json.dumps({"choices": [{"delta": {"content": "a"}, "logprobs": {"content": tokens}}]}).encode()
        (found, _last) = Stream().events(event, DONE)
        self.assertEqual(found["logprobs"], tokens)

    def test_reasons(self) -> None:
        """A tool call ends a reply as any other end does; other reasons are passed on."""
        for given_reason, expected in [("stop", "stop"), ("tool_calls", "stop"), ("length", "length"), ("x", "x")]:
            self.assertEqual(Stream().events(chunk({}, given_reason))[-1]["done_reason"], expected)
        self.assertEqual(Stream().events(DONE)[-1]["done_reason"], "stop")

    def test_incomplete(self) -> None:
        """A stream that just stops is an error, because no tool must take it for complete."""
        stream = Stream()
        with self.assertRaises(HttpError) as caught:
            stream.events(text("Hel"))
        self.assertEqual([found["done"] for found in stream.objects], [False])
        line = stream.dialect.error(caught.exception)
        assert line is not None
        self.assertEqual(line, json.dumps({"error": caught.exception.message}, separators=(",", ":")).encode() + b"\n")

    def test_errors(self) -> None:
        """An error of the server, or a chunk that is not valid, ends the stream after what came before."""
        for event, expected in [
            (b'{"error": {"message": "no memory"}}', "no memory"),
            (b'{"error": "no memory"}', "no memory"),
            (b'{"error": {"code": 1}}', "reported an error"),
            (b"{", "not valid"),
            (b"[]", "not valid"),
            (b"\xff", "not valid"),
            (b'{"choices": [{"delta": "a"}]}', "not valid"),
            (b'{"choices": ' + b"[" * 100_000, "not valid"),
        ]:
            stream = Stream()
            with self.assertRaises(HttpError) as caught:
                stream.events(text("Hel"), event, text("lo"))
            self.assertEqual(caught.exception.status, 502)
            self.assertIn(expected, caught.exception.message)
            self.assertEqual([found["message"]["content"] for found in stream.objects], ["Hel"])

    def test_halves(self) -> None:
        """Half a character in anything but text is not valid, or is replaced in a message."""
        for event in (
            tool_call(0, "\ud83d", "f", "{}"),
            chunk({}, "\ud83d"),
            json.dumps({"choices": [{"delta": {"content": "a"}, "logprobs": {"content": ["\ud83d"]}}]}).encode(),
        ):
            with self.assertRaises(HttpError):
                Stream().events(event, DONE)
        with self.assertRaises(HttpError) as caught:
            Stream().events(json.dumps({"error": "a\ud83d"}).encode())
        self.assertEqual(caught.exception.message, "a\ufffd")

    @given(st.data())
    def test_anything(self, data: st.DataObject) -> None:
        """Whatever a server sends, there are objects or an error."""
        names = ("choices", "delta", "message", "content", "reasoning", "tool_calls", "index", "id", "function", "name")
        keys = st.sampled_from((*names, "arguments", "text", "finish_reason", "logprobs", "usage", "error"))
        leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud83d", "{}"])
        values = st.recursive(
            leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4)
        )
        choice = st.fixed_dictionaries({}, optional={"delta": values, "message": values, "text": values})
        responses = st.fixed_dictionaries({"choices": st.lists(choice | values, max_size=2)}) | values
        body = json.dumps(data.draw(responses)).encode()
        with contextlib.suppress(HttpError):
            Stream().events(body, DONE)
        with contextlib.suppress(HttpError):
            whole(json.loads(body))

    def test_errorResponse(self) -> None:
        """An error response keeps its status, its message and the time after which to try again."""
        for body, expected in [
            (b'{"error": {"message": "slow down"}}', "slow down"),
            (b'{"error": "slow down"}', "slow down"),
            (b'{"detail": "slow down"}', "slow down"),
            (b'{"message": "slow down", "error": null}', "slow down"),
            (b"<html>", "status 429"),
            (b"[1]", "status 429"),
            (b"\xff", "status 429"),
            (b"[" * 100_000, "status 429"),
        ]:
            for dialect in (Stream().dialect, WholeDialect(bytes)):
                self.assertEqual(list(dialect.items([Head(429, "text/html", 7), Piece(body[:5]), Piece(body[5:])])), [])
                with self.assertRaises(HttpError) as caught:
                    list(dialect.end())
                error = caught.exception
                self.assertEqual((error.status, error.headers), (429, (("Retry-After", "7"),)))
                self.assertIn(expected, error.message)

    def test_longMessage(self) -> None:
        """A long message of an error is cut; a status that is neither success nor error becomes 502."""
        dialect = WholeDialect(bytes)
        dialect.items([Head(302, "a"), Piece(json.dumps({"error": "a" * 10_000}).encode())])
        with self.assertRaises(HttpError) as caught:
            dialect.end()
        self.assertEqual((caught.exception.status, len(caught.exception.message)), (502, 2000))

    def test_errorStream(self) -> None:
        """An error response that calls itself a stream is an error, too."""
        dialect = Stream().dialect
        list(dialect.items([Head(500, "text/event-stream"), ServerEvent("", b'{"error": "a"}')]))
        with self.assertRaises(HttpError) as caught:
            list(dialect.end())
        self.assertEqual((caught.exception.status, caught.exception.message), (500, "a"))

    def test_late(self) -> None:
        """If the server takes long, the stream begins without it, and gets objects without text."""
        stream = Stream()
        self.assertEqual(stream.dialect.comment, b"")
        head = stream.dialect.head_without_status()
        stream.write([head, stream.dialect.comment])
        (found,) = stream.objects
        self.assertEqual((found["message"], found["done"]), ({"role": "assistant", "content": ""}, False))
        stream.events(text("a"), DONE)
        self.assertEqual(stream.heads, [head])
        self.assertEqual(len(stream.objects), 3)

    def test_wholeForStream(self) -> None:
        """A server that does not stream gets its reply through all the same."""
        stream = Stream()
        message = {"content": "a", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}
        body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}}
        stream.receive(JSON, Piece(json.dumps(body).encode()))
        self.assertEqual(stream.heads, [])
        stream.write(stream.dialect.end())
        found, last = stream.objects
        self.assertEqual((found["message"]["content"], len(found["message"]["tool_calls"])), ("a", 1))
        self.assertEqual((last["done"], last["prompt_eval_count"]), (True, 1))

    def test_tooLong(self) -> None:
        """A response that has to be collected has a maximum length."""
        for dialect in (Stream().dialect, WholeDialect(bytes)):
            with self.assertRaises(HttpError) as caught:
                list(dialect.items([JSON, *[Piece(b" " * 2**20)] * 17]))
            self.assertEqual(caught.exception.status, 502)

    def test_time(self) -> None:
        """A clock that is set back makes no negative durations."""
        stream = Stream()
        stream.receive(STREAM, ServerEvent("", text("a")))
        stream.now.time -= 100
        stream.receive(ServerEvent("", DONE))
        stream.write(stream.dialect.end())
        self.assertEqual((stream.objects[-1]["total_duration"], stream.objects[-1]["eval_duration"]), (0, 0))


class WholeTests(SynchronousTestCase):
    """Replies as one object."""

    def test_chat(self) -> None:
        """The object has everything."""
        message = {
            "role": "assistant",
            "content": "a",
            "reasoning": "b",
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": '{\n"a": 1.50}'}}],
        }
        body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 3}}
        found = whole(body)
        self.assertEqual(
            found["message"],
            {
                "role": "assistant",
                "content": "a",
                "thinking": "b",
                "tool_calls": [{"function": {"index": 0, "name": "f", "arguments": {"a": 1.5}}, "id": "x"}],
            },
        )
        self.assertEqual((found["done"], found["done_reason"], found["eval_count"]), (True, "stop", 3))
        self.assertNotIn("prompt_eval_count", found)
        self.assertNotIn("thinking", whole(body, shows_thinking=False)["message"])

    def test_generate(self) -> None:
        """For /api/generate, as well."""
        self.assertEqual(whole({"choices": [{"text": "a"}]}, is_chat=False)["response"], "a")
        self.assertEqual(whole({"choices": []}, is_chat=False)["response"], "")

    def test_errors(self) -> None:
        """An error that calls itself a success is an error; so is a stream."""
        with self.assertRaises(HttpError) as caught:
            whole({"error": {"message": "no memory"}})
        self.assertEqual((caught.exception.status, caught.exception.message), (502, "no memory"))
        dialect = WholeDialect(bytes)
        dialect.items([STREAM, ServerEvent("", text("a"))])
        with self.assertRaises(HttpError):
            dialect.end()
        self.assertIsNone(dialect.error(caught.exception))  # type: ignore[func-returns-value]
        self.assertEqual(WholeDialect(bytes).end(), ())


class CountedIndex(int):
    """An index that counts how often one of its kind is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedIndex.comparisons += 1
        return int.__eq__(self, other)

    __hash__ = int.__hash__


class ToolCallTests(SynchronousTestCase):
    """Calls of tools."""

    def calls(self, *events: bytes) -> list[tuple[str, str, Any]]:
        """The id, name and arguments of each call; the index is its position."""
        objects = Stream().events(*events)
        calls = [call for found in objects for call in found["message"].get("tool_calls", ())]
        self.assertEqual([call["function"]["index"] for call in calls], list(range(len(calls))))
        return [(call.get("id", ""), call["function"]["name"], call["function"]["arguments"]) for call in calls]

    def test_parts(self) -> None:
        """The parts of calls are put together, also if they alternate."""
        calls = self.calls(
            tool_call(0, "x", "f", ""),
            tool_call(1, "y", "g", '{"b"'),
            tool_call(0, None, None, '{"a": 1.'),
            tool_call(1, None, "", ": []}"),
            tool_call(0, "x", None, "50}"),
            chunk({}, "tool_calls"),
            DONE,
        )
        self.assertEqual(calls, [("x", "f", {"a": 1.5}), ("y", "g", {"b": []})])

    def test_servers(self) -> None:
        """Some servers send no index, one index for all calls, no id, or arguments that are no string."""
        end = chunk({}, "stop")
        for events in (
            (tool_call(None, "x", "f", "{}"), tool_call(None, "y", "g", '{"a": 1}')),
            (tool_call(None, "x", "f", "{}"), tool_call(None, "y", "g", '{"a"'), tool_call(None, None, None, ": 1}")),
            (tool_call(0, "x", "f", "{}"), tool_call(0, "y", "g", '{"a": 1}')),
            (tool_call(0, "x", "f"), tool_call(1, "y", "g", {"a": 1})),
        ):
            self.assertEqual(self.calls(*events, end), [("x", "f", {}), ("y", "g", {"a": 1})])
        calls = self.calls(tool_call(None, None, "f", "{}"), tool_call(None, None, "g", "{}"), end)
        self.assertEqual(calls, [("", "f", {}), ("", "g", {})])
        self.assertEqual(self.calls(tool_call(0, None, "f", "{}"), DONE), [("", "f", {})])
        self.assertEqual(self.calls(chunk({"tool_calls": [{"index": 0}]}), DONE), [("", "", {})])

    def test_invalid(self) -> None:
        """Arguments that are not an object are an error; those of a reply that was cut are left out."""
        for arguments in ("[]", "{", "1", '{"a": 1} x', '{"a": "\x01"}', "{" * 100_000):
            with self.assertRaises(HttpError) as caught:
                Stream().events(tool_call(0, "x", "f", arguments), chunk({}, "tool_calls"))
            self.assertEqual(caught.exception.status, 502)
        events = (tool_call(0, "x", "f", "{}"), tool_call(1, "y", "g", '{"a'), chunk({}, "length"))
        self.assertEqual(self.calls(*events), [("x", "f", {})])

    def test_tooLong(self) -> None:
        """The arguments have a maximum length."""
        stream = Stream()
        stream.receive(STREAM)
        event = ServerEvent("", tool_call(0, "x", "f", "a" * 2**20))
        with self.assertRaises(HttpError):
            stream.receive(*[event] * 17)

    def test_many(self) -> None:
        """The time for a part of a call does not grow with the number of calls."""
        calls = ToolCalls()
        CountedIndex.comparisons = 0
        for number in range(1000):
            calls.feed([ToolCallPart(CountedIndex(number), "x", FunctionPart("f", "{"))])
        for number in range(1000):
            calls.feed([ToolCallPart(CountedIndex(number), None, FunctionPart(None, "}"))])
        self.assertEqual(len(calls.take(is_cut=False)), 1000)
        self.assertLess(CountedIndex.comparisons, 5000)

    def test_halves(self) -> None:
        """Halves of a character meet in the arguments, too."""
        events = (tool_call(0, "x", "f", '{"a": "\ud83d'), tool_call(0, None, None, '\ude00"}'), DONE)
        self.assertEqual(self.calls(*events), [("x", "f", {"a": "\U0001f600"})])

    @given(st.data())
    def test_anyCut(self, data: st.DataObject) -> None:
        """However the server cuts the arguments, the calls are the same."""
        values = st.dictionaries(
            st.text(max_size=3), st.text(max_size=4) | st.floats(allow_nan=False, allow_infinity=False) | st.none()
        )
        expected = data.draw(st.lists(values, min_size=1, max_size=3))
        events = []
        for index, arguments in enumerate(expected):
            written = json.dumps(
                arguments, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1))
            )
            cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=4)))
            parts = [written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
            events.append(tool_call(index, f"x{index}", "f", parts[0]))
            events += [tool_call(index, None, None, part) for part in parts[1:]]
        calls = self.calls(*events, chunk({}, "tool_calls"), DONE)
        self.assertEqual(calls, [(f"x{index}", "f", arguments) for index, arguments in enumerate(expected)])


def halves(written: str) -> str:
    """The text with each character beyond U+FFFF as its two halves."""
    data = written.encode("utf-16-le")
    return "".join(chr(data[at] | data[at + 1] << 8) for at in range(0, len(data), 2))


class CuttingTests(SynchronousTestCase):
    """Any cutting into chunks, records and batches."""

    @given(st.lists(st.text(min_size=1, max_size=5), max_size=5), st.data())
    def test_halves(self, texts: list[str], data: st.DataObject) -> None:
        """Characters whose halves come in two chunks are put together; a half that is alone is replaced."""
        joined = halves("".join(texts))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), max_size=6)))
        pieces = [joined[start:end] for start, end in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
        characters = Characters()
        self.assertEqual("".join(map(characters.feed, pieces)) + characters.end(), "".join(texts))
        objects = Stream().events(*map(text, pieces), DONE)
        self.assertEqual("".join(found["message"]["content"] for found in objects), "".join(texts))
        self.assertEqual(whole_characters("a\ud83d\u00e9\ude00"), "a\ufffd\u00e9\ufffd")
        self.assertEqual(Stream().events(text("a\ud83d"), DONE)[1]["message"]["content"], "\ufffd")

    @given(st.lists(st.tuples(st.sampled_from(["content", "reasoning"]), st.text(max_size=4)), max_size=12), st.data())
    def test_batches(self, deltas: list[tuple[str, str]], data: st.DataObject) -> None:
        """In whatever batches the items arrive, the tool gets the same bytes."""
        events = [chunk({key: value}) for key, value in deltas]
        items: list[Head | Piece | ServerEvent] = [STREAM, *(ServerEvent("", event) for event in [*events, DONE])]
        expected = Stream()
        expected.receive(*items)
        expected.write(expected.dialect.end())
        stream = Stream()
        while items:
            size = data.draw(st.integers(1, len(items)))
            stream.receive(*items[:size])
            items = items[size:]
        stream.write(stream.dialect.end())
        self.assertEqual(stream.written, expected.written)

    @given(st.lists(st.tuples(st.sampled_from(["content", "reasoning"]), st.text(max_size=4)), max_size=12), st.data())
    def test_records(self, deltas: list[tuple[str, str]], data: st.DataObject) -> None:
        """Whatever the server joins, and however it cuts the items, the tool gets the same reply."""
        arguments = json.dumps({"a": "".join(value for _key, value in deltas)})
        events = [chunk({key: value}) for key, value in deltas]
        events += [tool_call(0, "x", "f", ""), *(tool_call(0, None, None, sign) for sign in arguments)]
        events += [chunk({}, "tool_calls"), b'{"choices": [], "usage": {"prompt_tokens": 3}}', DONE]
        writer, reader, stream = ResultWriter(), ItemReader(), Stream()
        writer.add_head(200, "text/event-stream")
        for event in events:
            writer.add_event("", event)
            if data.draw(st.booleans()):
                stream.receive(*reader.feed(writer.take(data.draw(st.integers(1, 400)))))
        while writer.size:
            stream.receive(*reader.feed(writer.take(data.draw(st.integers(1, 400)))))
        reader.end()
        stream.write(stream.dialect.end())
        *objects, last = stream.objects
        for key, name in (("content", "content"), ("reasoning", "thinking")):
            expected = "".join(value for kind, value in deltas if kind == key)
            self.assertEqual("".join(found["message"].get(name, "") for found in objects), expected)
        (call,) = objects[-1]["message"]["tool_calls"]
        self.assertEqual(call["function"]["arguments"], json.loads(arguments))
        self.assertEqual((last["done"], last["prompt_eval_count"]), (True, 3))
