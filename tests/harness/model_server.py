"""A model server with the whole API that `--api` passes on, for tests with other people's programs.

What it responds depends on the request alone: on the path, `stream`, `tools` and the name of the model. The names in
`FAILURES` fail.
"""

import base64
import json
import struct
from collections.abc import Callable
from typing import Any, Final

from tests.harness.openai_peer import CLOSE, DONE, HANG, OpenAIPeer, Script, Step, data, error, stream, whole

WORDS: Final = ("Hel", "lo", " wor", "ld 你", "好 🙂", ' "quoted" \\ \n', "end")
TEXT: Final = "".join(WORDS)
ARGUMENTS: Final = ('{"ci', 'ty": "Gen', 'f", "days"', ": 3}")
MODELS: Final = ("tiny", "hf.co/org/tiny:latest")
VECTOR: Final = (0.5, -1.25, 3.0)
USAGE: Final = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
CALL: Final = {"id": "call_1", "type": "function"}


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "tiny"}
    return data({**common, "system_fingerprint": "fp_1", "choices": [choice], **more})


def _first() -> list[Step]:
    return [_chunk({"role": "assistant", "content": ""}), *(_chunk({"content": word}) for word in WORDS[:2])]


FAILURES: Final[dict[str, Callable[[], Script]]] = {
    "refused": lambda: error(400, "temperature is too high", type="invalid_request_error"),
    "missing": lambda: error(404, "no such model", code="model_not_found"),
    "busy": lambda: whole({"error": {"message": "slow down"}}, 429, Retry_After="7"),
    "broken": lambda: error(500, "out of memory"),
    "key": lambda: error(401, "Incorrect API key provided: sk-0123456789", code="invalid_api_key"),
    "fails late": lambda: stream(*_first(), data({"error": {"message": "out of memory", "type": "server_error"}})),
    "cut": lambda: stream(*_first(), CLOSE, end=False),
    "endless": lambda: stream(*_first(), HANG),
    "silent": lambda: iter([HANG]),
}


class ModelServer(OpenAIPeer):
    """The server. `bodies` are the JSON of its POST requests."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.bodies: list[Any] = []

    def script(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Script:
        self.headers.append(headers)
        if method == "GET":
            models = [{"id": name, "object": "model", "created": 1, "owned_by": "me"} for name in MODELS]
            if path == "/v1/models":
                return whole({"object": "list", "data": models})
            return whole(models[-1])
        asked = json.loads(body)
        self.bodies.append(asked)
        if asked["model"] in FAILURES:
            return FAILURES[asked["model"]]()
        return {
            "/v1/chat/completions": _chat,
            "/v1/completions": _completion,
            "/v1/embeddings": _embeddings,
            "/v1/responses": _response,
        }[path](asked)


def _chat(asked: dict[str, Any]) -> Script:
    if not asked.get("stream"):
        return whole(completion(with_tools="tools" in asked))
    if "tools" in asked:
        call = {"index": 0, **CALL, "function": {"name": "weather", "arguments": ""}}
        events = [_chunk({"role": "assistant", "content": None, "tool_calls": [call]})]
        events += [_chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in ARGUMENTS]
        events.append(_chunk({}, "tool_calls"))
    else:
        events = [_chunk({"role": "assistant", "content": ""}), *(_chunk({"content": word}) for word in WORDS)]
        events.append(_chunk({}, "stop"))
    if asked.get("stream_options", {}).get("include_usage"):
        events.append(_chunk({}, choices=[], usage=USAGE))
    return stream(*events, DONE)


def completion(*, with_tools: bool = False) -> dict[str, Any]:
    """The response of chat/completions without a stream."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT, "reasoning_content": "hm"}
    if with_tools:
        function = {"name": "weather", "arguments": "".join(ARGUMENTS)}
        message = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": function}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if with_tools else "stop"}
    common = {"id": "c", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice]}
    return {**common, "usage": USAGE, "timings": {"predicted_ms": 2.50}}


def _completion(asked: dict[str, Any]) -> Script:
    def value(text: str, finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny", "choices": [choice]}

    if not asked.get("stream"):
        return whole(value(TEXT, "stop"))
    return stream(*(data(value(word, None)) for word in WORDS), data(value("", "stop")), DONE)


def _embeddings(asked: dict[str, Any]) -> Script:
    vector: Any = list(VECTOR)
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    inputs = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    found = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(inputs))]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return whole({"object": "list", "model": "tiny", "data": found, "usage": usage})


def _response(asked: dict[str, Any]) -> Script:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": "tiny", "tools": []}
    common |= {"parallel_tool_calls": True, "tool_choice": "auto"}
    complete = {**common, "status": "completed", "output": [item]}
    if not asked.get("stream"):
        return whole(complete)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**common, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": complete},
    ]
    return stream(
        *(
            f"event: {event['type']}\n".encode() + data({**event, "sequence_number": number})
            for number, event in enumerate(events)
        )
    )
