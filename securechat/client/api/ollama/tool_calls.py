"""Tool calls. OpenAI's arguments are a string with JSON that is streamed in parts; Ollama's are an object."""

from typing import Final

from msgspec import MsgspecError, Raw, Struct, json

from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.characters import whole_characters
from securechat.client.api.ollama.responses import FunctionPart, ToolCallPart
from securechat.i18n import _

_MAX_SIZE: Final = 2**24  # characters of all calls in a reply


class Function(Struct):
    """The function to be called."""

    index: int
    name: str
    arguments: Raw


class ToolCall(Struct, omit_defaults=True):
    """A tool call as Ollama writes it."""

    function: Function
    id: str = ""


class _Call:
    """A call, as far as it has arrived."""

    def __init__(self, name: str) -> None:
        self.id = ""
        self.name = name
        self.arguments: list[str] = []


class ToolCalls:
    """The tool calls of one reply."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}  # the last one of each index
        self._size = 0

    def feed(self, parts: list[ToolCallPart]) -> None:
        """Add parts; HttpError if the calls become too long."""
        for part in parts:
            function = part.function or FunctionPart()
            call = self._call(part, function.name or "")
            arguments = function.arguments or ""
            if isinstance(arguments, dict):
                arguments = json.encode(arguments).decode()
            call.arguments.append(arguments)
            self._size += len(arguments) + len(call.name) + len(call.id) + 1
            if self._size > _MAX_SIZE:
                raise HttpError(502, _("the server's response is too long"))

    def take(self, *, is_cut: bool) -> tuple[ToolCall, ...]:
        """All calls, at the end of the reply; HttpError if one is not valid, or leave it out if the reply `is_cut`."""
        taken = []
        for index, call in enumerate(self._calls):
            arguments = _object("".join(call.arguments))
            if arguments is not None:
                taken.append(ToolCall(Function(index, call.name, arguments), call.id))
            elif not is_cut:
                raise HttpError(502, _("the model called a tool with arguments that are not a JSON object"))
        self._calls, self._by_index = [], {}
        return tuple(taken)

    def _call(self, part: ToolCallPart, name: str) -> _Call:
        """The call that a part belongs to. Some servers send no index, or the same index for all calls."""
        found = self._calls[-1] if self._calls else None
        if part.index is not None:
            found = self._by_index.get(part.index)
        is_other = found is not None and part.id and found.id and part.id != found.id
        if found is None or is_other or (part.index is None and name):
            found = _Call(name)
            self._calls.append(found)
            if part.index is not None:
                self._by_index[part.index] = found
        found.id = found.id or part.id or ""
        found.name = found.name or name
        return found


def _object(arguments: str) -> Raw | None:
    """A JSON object on one line; None if the text is not one. Models leave out the arguments if there are none."""
    text = whole_characters(arguments).encode()
    try:
        json.decode(text or b"{}", type=dict[str, Raw])
        return Raw(json.format(text or b"{}", indent=-1))
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None
