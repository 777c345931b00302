"""The messages of a conversation: from Ollama's form to OpenAI's."""

import binascii
from base64 import b64decode
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw, Struct

_TYPES: Final = (  # the first bytes of files
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_AUDIO: Final = ((b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"), (b"\xff\xf2", "mp3"))
_PREFIX: Final = 16  # characters of base64, 12 bytes: enough to recognize a type
_UNKNOWN_TYPE: Final = "image/jpeg"  # servers look at the content


class Function(Struct):
    """A function that the model called. Some tools send the arguments as OpenAI does, in a string."""

    name: str
    arguments: Raw = Raw(b"{}")


class ToolCall(Struct):
    """A call of the model in an earlier message."""

    function: Function
    id: str | None = None


class Message(Struct):
    """A message; `tool_name` names the function whose result it is."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    name: str | None = None  # an old name of `tool_name`
    tool_call_id: str | None = None


def openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages in OpenAI's form. Tool calls and their results get matching ids."""
    ids = _CallIds()
    return [_converted(message, ids) for message in messages]


def content_with(text: str, images: Sequence[str]) -> str | list[dict[str, Any]]:
    """The content of a message: text, or parts if there are images. `images` are base64."""
    if not images:
        return text
    parts = [{"type": "text", "text": text}] if text else []
    return [*parts, *map(_media_part, images)]


class _CallIds:
    """The ids of tool calls. Ollama's are optional: a result without one belongs to the first open call of its name."""

    def __init__(self) -> None:
        self._made = 0
        self._calls = 0
        self._open: OrderedDict[str, int] = OrderedDict()  # ids of the calls without a result, and the calls' numbers
        self._named: defaultdict[str | None, deque[tuple[str, int]]] = defaultdict(deque)  # by name, also closed ones

    def call(self, given: str | None, name: str) -> str:
        """The id of a call."""
        identifier = given or self._make()
        self._calls += 1
        self._named[name].append((identifier, self._open.setdefault(identifier, self._calls)))
        return identifier

    def result(self, given: str | None, name: str | None) -> str:
        """The id of the call that has this result."""
        identifier = given or self._first_open(name) or self._make()
        self._open.pop(identifier, None)
        return identifier

    def _first_open(self, name: str | None) -> str | None:
        """The first open call of this name, or else of any name."""
        named = self._named[name]
        while named and self._open.get(named[0][0]) != named[0][1]:
            named.popleft()
        return named[0][0] if named else next(iter(self._open), None)

    def _make(self) -> str:
        self._made += 1
        return f"call_{self._made}"


def _converted(message: Message, ids: _CallIds) -> dict[str, Any]:
    converted: dict[str, Any] = {
        "role": message.role.lower(),
        "content": content_with(message.content or "", message.images or ()),
    }
    if message.thinking:
        converted["reasoning"] = message.thinking
    if message.tool_calls:
        converted["tool_calls"] = [
            {
                "id": ids.call(call.id, call.function.name),
                "type": "function",
                "function": {"name": call.function.name, "arguments": _written(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    if converted["role"] == "tool":
        converted["tool_call_id"] = ids.result(message.tool_call_id, message.tool_name or message.name)
    return converted


def _written(arguments: Raw) -> str | Raw:
    """Arguments as a string that contains JSON."""
    written = bytes(arguments)
    return arguments if written.startswith(b'"') else written.decode()


def _media_part(data: str) -> dict[str, Any]:
    """An image or a sound; Ollama sends both as images."""
    if data.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": data}}
    try:
        start = b64decode(data[:_PREFIX])
    except (binascii.Error, ValueError):
        start = b""
    sound = _sound_in(start)
    if sound is not None:
        return {"type": "input_audio", "input_audio": {"data": data, "format": sound}}
    return {"type": "image_url", "image_url": {"url": f"data:{_image_type(start)};base64,{data}"}}


def _sound_in(start: bytes) -> str | None:
    if start.startswith(b"RIFF") and start.endswith(b"WAVE"):
        return "wav"
    return next((name for first, name in _AUDIO if start.startswith(first)), None)


def _image_type(start: bytes) -> str:
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return "image/webp"
    return next((name for first, name in _TYPES if start.startswith(first)), _UNKNOWN_TYPE)
