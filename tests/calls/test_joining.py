"""Joining of events, compared with an implementation that was written from the specification alone."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.joining import MAX_JOINED, Template
from tests.independent.items import join as independently


def join(first: bytes, second: bytes) -> bytes | None:
    """The joined data of two events; None if they are not joined."""
    template = Template.of(first)
    if template is None:
        return None
    in_first, in_second = template.match(first), template.match(second)
    assert in_first is not None
    joined = None if in_second is None else template.join(in_first, in_second)
    return None if joined is None else template.fill(joined)


def choice(delta: str, more: str = "", top: str = "") -> bytes:
    """An event of a chat completion; the texts are JSON, the second in the choice and the third at the top."""
    start = '{"id":"c-1","created":17140,"model":"m","choices":[{"index":0,"delta":{'
    return (start + delta + '},"finish_reason":null' + more + "}]" + top + "}").encode()


def content(text: str) -> bytes:
    return choice(f'"content":"{text}"')


def response(kind: str, delta: str, number: str = "1", more: str = "") -> bytes:
    """An event of the Responses API."""
    return (
        f'{{"type":"response.{kind}.delta","item_id":"i","delta":"{delta}","sequence_number":{number}{more}}}'.encode()
    )


KINDS = (
    "output_text",
    "refusal",
    "reasoning_text",
    "reasoning_summary_text",
    "function_call_arguments",
    "mcp_call_arguments",
    "custom_tool_call_input",
    "code_interpreter_call_code",
)


class JoiningTests(SynchronousTestCase):
    """Two adjacent events."""

    def assertJoins(self, first: bytes, second: bytes, joined: bytes) -> None:
        self.assertEqual(join(first, second), joined)
        self.assertEqual(independently(first, second), joined)

    def assertApart(self, first: bytes, second: bytes) -> None:
        self.assertIsNone(join(first, second), (first, second))
        self.assertIsNone(independently(first, second), (first, second))

    def test_listedStrings(self) -> None:
        """Each listed string is continued by the next event's."""
        tool, function = (
            '"tool_calls":[{"index":0,"function":{"arguments":"%s"}}]',
            '"function_call":{"arguments":"%s"}',
        )
        keys = ("content", "reasoning", "reasoning_content", "refusal")
        for delta in (*(f'"{key}":"%s"' for key in keys), tool, function):
            self.assertJoins(choice(delta % "Hel"), choice(delta % "lo"), choice(delta % "Hello"))
        text = b'{"choices":[{"text":"%b"}]}'
        self.assertJoins(text % b"Hel", text % b"lo", text % b"Hello")
        for kind in KINDS:
            self.assertJoins(response(kind, "a"), response(kind, "b"), response(kind, "ab"))

    def test_otherStrings(self) -> None:
        """Any other string has to be the same in both."""
        for first, second in (
            (choice('"role":"a"'), choice('"role":"b"')),
            (choice('"delta":{"content":"a"}'), choice('"delta":{"content":"b"}')),
            (choice('"content":["a"]'), choice('"content":["b"]')),
            (b'{"content":"a"}', b'{"content":"b"}'),
            (b'{"delta":"a"}', b'{"delta":"b"}'),
            (b'{"choices":{"delta":{"content":"a"}}}', b'{"choices":{"delta":{"content":"b"}}}'),
            (b'{"choices":[[{"delta":{"content":"a"}}]]}', b'{"choices":[[{"delta":{"content":"b"}}]]}'),
            (b'{"text":"a"}', b'{"text":"b"}'),
            (response("audio", "a"), response("audio", "b")),
            (response("output_text", "a"), response("refusal", "b")),
            (
                b'{"type":["response.output_text.delta"],"delta":"a"}',
                b'{"type":["response.output_text.delta"],"delta":"b"}',
            ),
        ):
            self.assertApart(first, second)

    def test_asWritten(self) -> None:
        """Escapes, numbers and white space stay as they are written, and halves of a surrogate pair meet."""
        self.assertJoins(content("\\u0041\\/"), content("\\n\u00e9"), content("\\u0041\\/\\n\u00e9"))
        self.assertJoins(content("\\ud83d"), content("\\ude00"), content("\\ud83d\\ude00"))
        odd = (
            b'\n{ "choices" :[ {"delta": {\t"content" : "%b"} ,"n":1.50e+07, "z":-0.0} ], "b":123456789012345678 } \r\n'
        )
        self.assertJoins(odd % b"a", odd % b"b", odd % b"ab")

    def test_shape(self) -> None:
        """Everything else has to be equal, to the last space."""
        a = content("a")
        for other in (
            a + b" ",
            a.replace(b"17140", b"17141"),
            a.replace(b"17140", b"17140.0"),
            a.replace(b'"index":0,', b""),
            a.replace(b'"id":"c-1","created":17140', b'"created":17140,"id":"c-1"'),
            a.replace(b'"a"', b"null"),
            a.replace(b'"a"', b'["a"]'),
            a.replace(b'"model":"m"', b'"model":"\\u006d"'),
            choice('"content":"a","refusal":null'),
            b"[DONE]",
            b"",
            b"null",
        ):
            self.assertApart(a, other)
            self.assertApart(other, a)

    def test_oneString(self) -> None:
        """Exactly one listed string may be anything but empty."""
        two = '"content":"%s","reasoning":"%s"'
        for first, second, joined in (
            (("a", ""), ("b", ""), ("ab", "")),
            (("", "a"), ("", "b"), ("", "ab")),
            (("", ""), ("b", ""), ("b", "")),
            (("a", ""), ("", ""), ("a", "")),
        ):
            self.assertJoins(choice(two % first), choice(two % second), choice(two % joined))
        for first, second in (
            (("a", ""), ("", "b")),
            (("a", "b"), ("a", "b")),
            (("a", "b"), ("", "")),
            (("", ""), ("", "")),
        ):
            self.assertApart(choice(two % first), choice(two % second))
        self.assertApart(content(""), content(""))

    def test_later(self) -> None:
        """`obfuscation` and `sequence_number` are the later event's, the latter in events of the Responses API."""
        top = ',"obfuscation":"%s"'
        one, two = (choice(f'"content":"{text}"', top=top % (text * 3)) for text in "ab")
        self.assertJoins(one, two, choice('"content":"ab"', top=top % "bbb"))
        one, two = (response("output_text", text, number, top % text) for text, number in (("a", "9"), ("b", "10")))
        self.assertJoins(one, two, response("output_text", "ab", "10", top % "b"))
        for first, second in (
            (choice('"content":"a"', top=',"sequence_number":1'), choice('"content":"b"', top=',"sequence_number":2')),
            (choice('"content":"a","obfuscation":"x"'), choice('"content":"b","obfuscation":"y"')),
            (choice('"content":"a"', top=',"obfuscation":1'), choice('"content":"b"', top=',"obfuscation":2')),
            (response("refusal", "a", "1.5"), response("refusal", "b", "2.5")),
            (response("refusal", "a", '"1"'), response("refusal", "b", '"2"')),
            (response("refusal", "a", "1"), response("refusal", "b", "2.0")),
            (response("refusal", "a", "1"), response("refusal", "b", "null")),
            (response("refusal", "a", "1"), response("refusal", "b", "02")),
        ):
            self.assertApart(first, second)

    def test_never(self) -> None:
        """Events that end or begin something are never joined."""
        a = '"content":"a"'
        for event in (
            content("a").replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
            content("a").replace(b'"finish_reason":null', b'"finish_reason":{}'),
            choice(a, top=',"usage":{}'),
            choice(a, top=',"usage":1'),
            choice(a, ',"logprobs":{"content":[]}'),
            choice(a, ',"logprobs":[1]'),
            choice(a, ',"logprobs":""'),
            choice('"tool_calls":[{"id":"1","function":{"arguments":"a"}}]'),
            choice('"tool_calls":[{"id":null,"function":{"arguments":"a"}}]'),
            choice('"tool_calls":[{"id":{},"function":{"arguments":"a"}}]'),
            choice('"tool_calls":[{"function":{"arguments":"a","name":"f"}}]'),
            choice('"function_call":{"name":"f","arguments":"a"}'),
            choice(a + ',"content":"a"'),
            choice(a, top=',"x":{"y":1,"y":1}'),
            choice(a, top=',"x\\n":1'),
        ):
            self.assertApart(event, event)
        for event in (
            choice('"content":"%s"', ',"logprobs":null', ',"usage":null'),
            choice('"content":"%s"', ',"logprobs": { }'),
            choice('"content":"%s"', ',"logprobs":[ ]'),
        ):
            one = event.replace(b"%s", b"a")
            self.assertJoins(one, one, event.replace(b"%s", b"aa"))

    def test_notJson(self) -> None:
        """What is not one JSON object is not joined."""
        for event in (
            content("a") + b"x",
            content("a")[:-1],
            b"[" + content("a") + b"]",
            b"\xef\xbb\xbf" + content("a"),
            content("\x01"),
            content("\\x"),
            content("\\u12g4"),
            content("a").replace(b"17140", b"017140"),
            content("a").replace(b"17140", b"NaN"),
            content("a").replace(b"17140", b""),
            content("a").replace(b"17140,", b"17140,,"),
            content("a").replace(b'"created"', b"created"),
            content("a").replace(b":17140", b"17140"),
            content("a").replace(b"0,", b"0;"),
            choice('"content":"a"', top=',"x":[1,]'),
            choice('"content":"a"', top=',"x":[1 2]'),
            content("a").replace(b'"a"', b'"\xff"'),
            content("a").replace(b'"m"', b'"\xed\xa0\x80"'),
        ):
            self.assertApart(event, event)
        self.assertApart(content("a"), content("a").replace(b'"a"', b'"\xff"'))

    def test_nesting(self) -> None:
        """Deep nesting is neither joined nor an error."""
        for depth, joins in (10, True), (20, False), (2000, False):
            event = choice('"content":"a"', top=f',"x":{depth * "["}{depth * "]"}')
            self.assertEqual(join(event, event) is not None, joins)

    def test_size(self) -> None:
        """A joined event has at most 4,096 bytes."""
        room = MAX_JOINED - len(content(""))
        self.assertJoins(content("a"), content("b" * (room - 1)), content("a" + "b" * (room - 1)))
        self.assertApart(content("a"), content("b" * room))
        self.assertApart(content("b" * room), content("a"))
        self.assertApart(content("b" * (room + 1)), content("a"))


STRINGS = st.sampled_from(["", "a", "b", "\\ud83d", "\\ude00", "é", "\\n", '\\"'])
SCALARS = st.sampled_from(["null", "1", "1.0", "-2e5", "true", '""', '"x"', "[]", "{}", '[1,"x"]', '{"content":"x"}'])
KEYS = st.sampled_from(
    ["content", "refusal", "id", "index", "finish_reason", "logprobs", "usage", "text", "name", "type"]
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Data of two events, both of one of the shapes that are listed or almost one."""
    other = draw(st.just('"index":0') | st.builds('"{}":{}'.format, KEYS, SCALARS))
    where = draw(st.integers(0, 2))
    top, choice_, delta = (f",{other}" if where == number else "" for number in range(3))
    space = draw(st.sampled_from(["", "", "", " "]))
    kind = draw(st.sampled_from(["output_text", "refusal", "audio"]))
    shape = draw(st.integers(0, 3))

    def event() -> bytes:
        one, two, three = (f'"{draw(STRINGS)}"' for _ in range(3))
        if shape == 0:
            text = f'"content":{one},"reasoning":{two}{delta}'
        elif shape == 1:
            text = f'"tool_calls":[{{"function":{{"arguments":{one}{delta}}}}}]'
        elif shape == 2:
            text = f'"content":{one},"role":{draw(SCALARS)}{delta}'
        else:
            number = draw(st.sampled_from(["1", "2", "10", "2.0"]))
            return (
                f'{{"type":"response.{kind}.delta","delta":{one},"sequence_number":{number},'
                f'"obfuscation":{two}{space}{top}}}'
            ).encode()
        return f'{{"choices":[{{"delta":{{{text}}}{choice_}}}],"obfuscation":{three}{space}{top}}}'.encode()

    return event(), event()


class PropertyTests(SynchronousTestCase):
    """Any two events."""

    @given(pairs(), pairs())
    def test_asSpecified(self, two: tuple[bytes, bytes], others: tuple[bytes, bytes]) -> None:
        """They are joined exactly if the independent implementation joins them, to the same bytes."""
        self.assertEqual(join(*two), independently(*two))
        self.assertEqual(join(two[0], others[0]), independently(two[0], others[0]))

    @given(pairs(), st.integers(0, 200), st.binary(max_size=3))
    def test_anyBytes(self, two: tuple[bytes, bytes], at: int, noise: bytes) -> None:
        """So it is with bytes that are hardly JSON."""
        one, other = two
        noisy = one[:at] + noise + one[at + len(noise) :]
        for first, second in ((noisy, noisy), (noisy, other), (other, noisy), (noise, noise)):
            self.assertEqual(join(first, second), independently(first, second))

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), min_size=1))
    def test_concatenates(self, texts: list[str]) -> None:
        """The joined event has the texts of all events, one after the other."""
        parts = [json.dumps({"choices": [{"delta": {"content": text}, "index": 0}]}).encode() for text in texts]
        expected = ""
        joined: bytes | None = parts[0]
        for part in parts[1:]:
            assert joined is not None
            before, joined = joined, join(joined, part)
            if joined is None:  # both are empty
                self.assertEqual(text_of(before) + text_of(part), "")
                joined = before
        expected = "".join(texts)
        assert joined is not None
        self.assertEqual(text_of(joined), expected)


def text_of(data: bytes) -> str:
    value: Any = json.loads(data)
    text = value["choices"][0]["delta"]["content"]
    assert isinstance(text, str)
    return text
