"""The number of tokens that a server reports, found in the bytes of a response without parsing it.

It is an object ``"usage": {…}``: in one event of a stream or in many, in the last of which it is the whole, or near the
end of a body. Within a string of JSON its quotes would be escaped, so no text of a user or a model looks like it.
"""

import re
from typing import Any, Final

from msgspec import MsgspecError, json

MAX_USAGE: Final = 4096  # bytes of the object; those of servers have some hundred

_KEY: Final = b'"usage"'
_OBJECT: Final = re.compile(rb'"usage"\s{0,8}:\s{0,8}\{')  # which is looked for at a key only: that is much faster
_OVERLAP: Final = 64  # bytes at the end of the data that may be the beginning of what is searched for
_PROMPT: Final = ("prompt_tokens", "input_tokens")  # the latter of `responses`
_COMPLETION: Final = ("completion_tokens", "output_tokens")
_MAX_TOKENS: Final = 10**9
# An object with two further levels in it, as far as its strings have no braces. It is found without backtracking, and
# given up at a fourth level: where objects are nested deeply, each would otherwise be searched to the limit.
_WHOLE: Final = re.compile(rb"\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}")


class UsageReader:
    """Reads the bytes of one response; `prompt` and `completion` are the numbers so far, 0 if there are none."""

    __slots__ = ("_rest", "completion", "prompt")

    def __init__(self) -> None:
        self.prompt = 0
        self.completion = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """The next bytes. Those of most tokens are searched once, and nothing more."""
        if self._rest:
            data = self._rest + data
        start = taken = 0
        while (key := data.find(_KEY, start)) >= 0:
            found = _OBJECT.match(data, key)
            if found is None:
                start = key + 1
                continue
            brace = found.end() - 1
            whole = _WHOLE.match(data, brace, brace + MAX_USAGE)
            if whole is not None:
                self._take(whole[0])
            elif len(data) - brace < MAX_USAGE:
                self._rest = data[found.start() :]
                return
            start = taken = (whole or found).end()
        self._rest = data[max(taken, len(data) - _OVERLAP) :]

    def _take(self, data: bytes) -> None:
        try:
            usage = json.decode(data)
        except (MsgspecError, UnicodeError, RecursionError):
            return
        # The numbers of a stream grow; an object of another meaning must not make them less.
        self.prompt = max(self.prompt, _number(usage, _PROMPT))
        self.completion = max(self.completion, _number(usage, _COMPLETION))


def _number(usage: Any, names: tuple[str, ...]) -> int:
    values = (usage.get(name) for name in names)
    found = (value for value in values if isinstance(value, int) and not isinstance(value, bool))
    return min(max(0, *found, 0), _MAX_TOKENS)
