"""Requests and responses of the Turing robot as bytes, without a server."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.turing.messages import ERRORS, TuringError, encrypted, parse_answer
from tests.harness.turing_peer import KEY, SECRET

NAMES = ["intent", "code", "results", "values", "groupType", "resultType", "text", "news", "url", "name", "detailurl"]


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(NAMES)
    | st.text(max_size=9)
)


ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
)


class ParseTests(SynchronousTestCase):
    """The text of responses."""

    def test_everyResultType(self) -> None:
        """Results of all types are shown, in the order of their groups, with the text of each group first."""
        body = b"""{"intent": {"code": "10004"}, "results": [
            {"groupType": 2, "resultType": "image", "values": {"image": "//i.example/a.png"}},
            {"groupType": 0, "resultType": "text", "values": {"text": "alone"}},
            {"groupType": 2, "resultType": "text", "values": {"text": "with a picture"}},
            {"groupType": 0, "resultType": "voice", "values": {"voice": "http://v.example"}},
            {"groupType": 0, "resultType": "video", "values": {"video": "http://w.example"}},
            {"groupType": 0, "resultType": "number", "values": {"number": 7}},
            {"groupType": 0, "resultType": "news", "values": {"news": ["?", {"icon": "//x"}, {"info": 3}]}},
            {"groupType": 0, "resultType": "text", "values": {}},
            {"groupType": 0, "resultType": "url", "values": {"url": null}},
            {"groupType": 0}]}"""
        self.assertEqual(
            parse_answer(body),
            "with a picture\nhttp://i.example/a.png\nalone\nhttp://v.example\nhttp://w.example\n7\n  http://x\n• 3",
        )

    def test_resultsOfAnyShape(self) -> None:
        """Invalid results are skipped."""
        good = {"groupType": "1", "resultType": "text", "values": {"text": "好"}}
        shapes: list[Any] = [
            None,
            "text",
            [],
            {},
            {"values": None},
            {"resultType": "text"},
            {"resultType": "text", "values": None},
            {"resultType": "text", "values": {"url": "x"}},
            {"resultType": "text", "values": {"text": {"a": 1}}},
            {"resultType": "text", "values": {"text": True}},
            {"resultType": ["text"], "values": {"text": "x"}},
            {"groupType": {}, "resultType": "news", "values": {"news": [None, 1, {"name": None, "detailurl": []}]}},
            {"groupType": 1, "resultType": "news", "values": []},
        ]
        for bad in shapes:
            body = json.dumps({"intent": {"code": 10004}, "results": [bad, good]}).encode()
            self.assertEqual(parse_answer(body), "好", bad)
        loose = json.dumps({"intent": {"code": 10004}, "results": [{"resultType": "text", "values": "好"}]})
        self.assertEqual(parse_answer(loose.encode()), "好")
        nothing: list[Any] = [None, {}, "x", 3]
        for results in nothing:
            body = json.dumps({"intent": {"code": 10004}, "results": results}).encode()
            self.assertEqual(parse_answer(body), "I found no results.")

    def test_encryption(self) -> None:
        """Encryption gives the bytes of a worked example."""
        body = (
            '{"reqType":0,"perception":{"inputText":{"text":"你好"}},'
            '"userInfo":{"apiKey":"00000000000000000000000000000000","userId":"443545"}}'
        ).encode()
        self.assertIn(
            b"PUN9tKegWKZKPUDQaHQmr0WydnCozR3uVT8A6MJsd6ag11XwXYsKUMyaX36awlOkwsUMLOO0JIS40ZRvHpNuu7920cfc2yJe"
            b"qaQukbPrxVDDzApuus16MktCtKqFD37JpEIFITvXt8TbIfNC/ARqC53Vg2Vc79cSofdPWiIv0GZaGmMbpJMHpoFJvLsIhlOj",
            encrypted(body, KEY, SECRET, 1700000000000),
        )

    @given(st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
    def test_anyBody(self, body: bytes) -> None:
        """Any body is a reply, an error of the service, or a broken answer."""
        try:
            self.assertTrue(parse_answer(body))
        except TuringError as error:
            self.assertEqual(error.fault, ERRORS.get(error.code, (Fault.BROKEN_ANSWER, ""))[0])
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)

    @given(results=ANYTHING)
    def test_anyResults(self, results: object) -> None:
        """Any results of a successful response give a text."""
        body = json.dumps({"intent": {"code": 10004}, "results": results}).encode()
        self.assertTrue(parse_answer(body).strip())
