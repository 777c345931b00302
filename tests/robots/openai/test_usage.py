"""Finding the numbers of tokens in the bytes of a response."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.usage import MAX_USAGE, UsageReader


def read(*pieces: bytes) -> tuple[int, int]:
    reader = UsageReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.prompt, reader.completion


def usage(prompt: Any, completion: Any, **more: Any) -> bytes:
    return json.dumps(
        {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}
    ).encode()


class UsageReaderTests(SynchronousTestCase):
    """Bytes of any kind."""

    def test_forms(self) -> None:
        """Servers write it with and without spaces, and name the numbers in two ways."""
        for data in (
            b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}',
            b'{"usage" : {\n "input_tokens": 3, "output_tokens": 2}}',
            b'{"x_groq":{"id":"1","usage":{"prompt_tokens":3,"completion_tokens":2,"d":{"e":{}}}}}',
            b'data: {"usage":null}\n\ndata: {"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n',
        ):
            self.assertEqual(read(data), (3, 2), data)

    def test_nested(self) -> None:
        """An object with more levels than that of any server is none, so each level is searched a few times only."""
        self.assertEqual(read(usage(3, 2, a={"b": {}})), (3, 2))
        self.assertEqual(read(usage(3, 2, a={"b": {"c": {}}})), (0, 0))
        self.assertEqual(read(b'"usage":{' * 100_000, b" " * MAX_USAGE, usage(3, 2)), (3, 2))

    @given(st.lists(st.integers(0, 90), max_size=5))
    def test_anyPieces(self, cuts: list[int]) -> None:
        """It does not matter how the network divides the bytes."""
        data = b'data: {"usage":null}' + usage(31, 17, details={"cached": 4}) + b"\n\ndata: [DONE]"
        edges = [0, *sorted(cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(edges)]
        self.assertEqual(read(*pieces), (31, 17))

    def test_singleBytes(self) -> None:
        """Even one byte at a time."""
        self.assertEqual(read(*(bytes([byte]) for byte in usage(31, 17) * 3)), (31, 17))

    def test_lastCounts(self) -> None:
        """Numbers that grow in a stream are not added up, and never become less."""
        self.assertEqual(read(usage(3, 1), usage(3, 2), usage(3, 9), usage(0, 0)), (3, 9))

    def test_textOfTheModel(self) -> None:
        """What a model writes about usage does not count: its quotes are escaped."""
        text = '{"usage": {"prompt_tokens": 5, "completion_tokens": 5}}'
        self.assertEqual(read(json.dumps({"choices": [{"delta": {"content": text}}]}).encode()), (0, 0))

    def test_nonsense(self) -> None:
        """Values that are no numbers of tokens are ignored."""
        values: tuple[object, ...] = (None, "7", -1, True, 1.5, [], {})
        for value in values:
            self.assertEqual(read(usage(value, 2)), (0, 2), value)
        self.assertEqual(read(usage(10**30, 2)), (10**9, 2))
        for data in (b'"usage":{', b'"usage":{}', b'"usage":{"prompt_tokens":}}', b'"usage":{\xff}', b'"usage"', b""):
            self.assertEqual(read(data), (0, 0), data)

    def test_endless(self) -> None:
        """An object that does not end is given up, and one after it is found."""
        reader = UsageReader()
        reader.feed(b'"usage":{' + b"x" * MAX_USAGE)
        for _ in range(10):
            reader.feed(b"x" * 100)
        reader.feed(usage(3, 2))
        self.assertEqual((reader.prompt, reader.completion), (3, 2))
