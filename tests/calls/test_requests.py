"""Paths, bodies, and the decision about a request."""

import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.bodies import MAX_KEYS, Body, InvalidBodyError
from securechat.calls.paths import Route, find_route
from securechat.calls.requests import Access, Refusal, Request, examine
from securechat.errors import Fault

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


class PathTests(SynchronousTestCase):
    """The paths that the API has."""

    def test_listed(self) -> None:
        """Each path of the table has its method."""
        for path in ("chat/completions", "completions", "embeddings", "responses"):
            self.assertEqual(find_route(path), Route("POST", path, None))
        self.assertEqual(find_route("models"), Route("GET", "models", None))

    def test_models(self) -> None:
        """An ID is percent-encoded segment by segment, and its slashes are kept."""
        for model, path in (
            ("gpt-4o", "models/gpt-4o"),
            ("a/b/c", "models/a/b/c"),
            ("llama3:8b@x+y~z_1.5", "models/llama3%3A8b%40x%2By~z_1.5"),
            ("...", "models/..."),
            ("x" * 256, "models/" + "x" * 256),
        ):
            self.assertEqual(find_route(f"models/{model}"), Route("GET", path, model))

    def test_others(self) -> None:
        """Any other path, and any ID with another character, an empty segment or a dot segment, is not found."""
        for path in ("", "/models", "models/", "models//a", "models/a/", "models/a//b", "models/.", "models/a/../b"):
            self.assertIsNone(find_route(path), path)
        for path in ("models/a b", "models/a%2e", "models/é", "models/a\n", "models/" + "x" * 257, "model/a", "a"):
            self.assertIsNone(find_route(path), path)
        for path in ("Models", "v1/models", "chat/completions/", "chat/completions?x", "responses/1"):
            self.assertIsNone(find_route(path), path)


class BodyTests(SynchronousTestCase):
    """JSON objects."""

    def assertInvalid(self, data: bytes, reason: str = "") -> None:
        error = self.assertRaises(InvalidBodyError, Body, data)
        self.assertIn(reason, str(error))

    def test_notJson(self) -> None:
        """What RFC 8259 does not allow is refused."""
        for text in (
            "", " ", "{", "{}x", "{} {}", "[]", '"a"', "1", "null", "{,}", '{"a"}', '{"a":}', '{"a":1,}', "{'a':1}",
            '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1.}', '{"a":NaN}', '{"a":[Infinity]}', '{"a":-Infinity}',
            '{"a":"\t"}', '{"a":"\\x"}', '{"a":1 "b":2}', '{"a" 1}', "{a:1}", '\ufeff{"a":1}', '{"a":1}\0', '\xa0{}',
            '{"a":tru}', '{1:2}', "//c\n{}",
        ):  # fmt: skip
            self.assertInvalid(text.encode())

    def test_notUtf8(self) -> None:
        """UTF-8 that is not valid is refused."""
        for data in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b"\xff\xfe{\0}\0", b'{"\xc0\xaf":1}'):
            self.assertInvalid(data, "UTF-8")

    def test_tooDeep(self) -> None:
        """Nesting beyond the parser's limit is refused, and does not end the program."""
        for opening in (b"[", b'{"a":'):
            self.assertInvalid(b'{"a":' + opening * 200_000, "deeply")

    def test_twice(self) -> None:
        """A key may occur once at the top, whatever its case and escapes; further below it is not looked at."""
        for text in ('{"a":1,"a":1}', '{"a":1,"A":2}', '{"a":1,"\\u0061":2}', '{"ß":1,"SS":2}', '{"k":1,"\u212a":2}'):
            self.assertInvalid(text.encode(), "twice")
        self.assertEqual(Body(b'{"a":{"b":1,"b":2}}').written("a"), '{"b":1,"b":2}')

    def test_keys(self) -> None:
        """A body has a maximum number of keys, so that it does not take long to read."""
        members = [f'"{number}":1' for number in range(MAX_KEYS)]
        self.assertEqual(len(Body(f"{{{','.join(members)}}}".encode()).keys), MAX_KEYS)
        self.assertInvalid(f'{{{",".join(members)},"x":1}}'.encode(), "1000")

    def test_memory(self) -> None:
        """A body takes little more memory than its text, whatever it contains."""
        data = b'{"a":[' + b"[]," * 100_000 + b"[]]}"
        tracemalloc.start()
        try:
            body = Body(data)
            taken, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(body.keys, {"a"})
        self.assertTrue(taken < 2 * len(data), taken)

    def test_model(self) -> None:
        """The model is a string at the top, and nothing else."""
        for text, model in (
            ('{"model":"a"}', "a"),
            ('{"mod\\u0065l" : "\\u0061b"}', "ab"),
            ('{"model":1}', None),
            ('{"model":["a"]}', None),
            ('{"model":null}', None),
            ('{"Model":"a"}', None),
            ('{"x":{"model":"a"}}', None),
            ("{}", None),
        ):
            self.assertEqual(Body(text.encode()).model, model, text)

    def test_replaced(self) -> None:
        """Only the values that are replaced change, and keys that are missing are added."""
        body = Body(b' { "n" : 1.50e1 ,\n"m": [ 1 , "\\u00e9" ],"big":12345678901234567890123 } ')
        self.assertEqual(body.replaced({"m": "x"}), b' { "n" : 1.50e1 ,\n"m": "x","big":12345678901234567890123 } ')
        self.assertEqual(
            body.replaced({"big": 1, "n": None, "user": "é"}),
            b' {"user": "\\u00e9",  "n" : null ,\n"m": [ 1 , "\\u00e9" ],"big":1 } ',
        )
        self.assertEqual(Body(b"{ }").replaced({"a": 1, "b": 2}), b'{"a": 1, "b": 2 }')
        self.assertEqual(body.keys, {"n", "m", "big"})
        self.assertEqual((body.written("n"), body.written("x")), ("1.50e1", None))

    def test_json(self) -> None:
        """A value may be JSON that has been written already."""
        value = Raw(b"[ 1.50 ]")
        self.assertEqual(Body(b'{"a": 1}').replaced({"a": value, "b": value}), b'{"b": [ 1.50 ], "a": [ 1.50 ]}')

    def test_longNumbers(self) -> None:
        """A number may have more digits than Python converts."""
        digits = "1" * 10_000
        self.assertEqual(Body(f'{{"a":{digits}}}'.encode()).written("a"), digits)

    @given(st.dictionaries(st.text(), JSON, max_size=5), st.dictionaries(st.text(), JSON, max_size=3), st.booleans())
    def test_anyObject(self, value: dict[str, Any], changes: dict[str, Any], ascii_only: bool) -> None:
        """Any object whose keys differ is a body, and replacing values in it is replacing them in its text."""
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
        if len({key.casefold() for key in value}) < len(value):
            self.assertInvalid(data, "twice")
            return
        body = Body(data)
        self.assertEqual(body.replaced({}), data)
        self.assertEqual(json.loads(body.replaced(changes)), {**value, **changes})


class ExamineTests(SynchronousTestCase):
    """The order of refusals."""

    def refusal(self, path: str, body: bytes, access: Access) -> Refusal:
        refusal = examine(path, body, access)
        assert isinstance(refusal, Refusal)
        return refusal

    def test_order(self) -> None:
        """The first that applies counts: FAULT 11, FAULT 10, status 400, status 404."""
        some, nobody = Access(True, {"a", "b"}), Access(False, {"a"})
        for path, body, access, fault, status in (
            ("x", b"{", nobody, Fault.NOT_ALLOWED, 0),
            ("models", b"", nobody, Fault.NOT_ALLOWED, 0),
            ("x", b"{", some, Fault.NOT_FOUND, 0),
            ("models/../x", b"{", some, Fault.NOT_FOUND, 0),
            ("models/c", b"{}", some, None, 400),
            ("models", b" ", some, None, 400),
            ("completions", b"", some, None, 400),
            ("completions", b'{"model":"c","MODEL":"c"}', some, None, 400),
            ("models/c", b"", some, None, 404),
            ("completions", b'{"model":"c"}', some, None, 404),
            ("completions", b"{}", some, None, 404),
            ("completions", b'{"model":null}', some, None, 404),
        ):
            refusal = self.refusal(path, body, access)
            self.assertEqual((refusal.fault, refusal.status), (fault, status), (path, body))
            self.assertEqual(bool(refusal.error), fault is None)

    def test_errors(self) -> None:
        """The error is one of the API's own, and that about a model names the others."""
        error = json.loads(self.refusal("completions", b"{}", Access(True, {"b", "a"})).error)["error"]
        self.assertIn("a, b", error.pop("message"))
        self.assertEqual(error, {"type": "invalid_request_error", "param": "model", "code": "model_not_found"})
        error = json.loads(self.refusal("completions", b"", Access(True, None)).error)["error"]
        self.assertEqual((error["param"], error["code"]), (None, None))

    def test_taken(self) -> None:
        """A request for a model in the list, for any model without a list, and for the list of models, is taken."""
        for path, body, models in (
            ("completions", b'{"model":"a"}', {"a"}),
            ("completions", b'{"model":"a"}', None),
            ("completions", b"{}", None),
            ("models/a", b"", {"a"}),
            ("models/b", b"", None),
            ("models", b"", set[str]()),
        ):
            request = examine(path, body, Access(True, models))
            assert isinstance(request, Request)
            self.assertEqual(request.body is None, request.route.method == "GET")
