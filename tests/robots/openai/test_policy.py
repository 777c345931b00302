"""What the server changes in the bodies of API requests, and what it refuses."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.bodies import Body
from securechat.calls.paths import Route
from securechat.calls.requests import ApiCall, Request
from securechat.robots.openai.policy import Policy, PolicyError
from securechat.robots.openai.settings import OpenAISettings, parse_models

USER = "a" * 32


def call(body: bytes | str, path: str = "chat/completions") -> ApiCall:
    data = body if isinstance(body, bytes) else body.encode()
    return ApiCall(Request(Route("POST", path, None), Body(data)), USER, "", None)


def bodies(policy: Policy, call: ApiCall) -> list[bytes]:
    """The body that is sent first and, if the server refuses that, then."""
    body = call.request.body
    assert body is not None
    return [body.replaced(values) for values in policy.changes(call)]


class PolicyTestCase(SynchronousTestCase):
    """Bodies through the policy of some settings."""

    def sent(self, body: str, path: str = "chat/completions", **options: Any) -> list[Any]:
        """What is sent first and, if the server refuses that, then."""
        return [json.loads(sent) for sent in bodies(Policy(OpenAISettings(**options)), call(body, path))]

    def assertRefused(self, field: str, body: str, **options: Any) -> None:
        error = self.assertRaises(PolicyError, self.sent, body, **options)
        self.assertEqual(error.field, field)


class UserTests(PolicyTestCase):
    """The user, and everything else."""

    def test_unchanged(self) -> None:
        """What no setting is about is sent as it was written, and a GET has no body."""
        for path in ("chat/completions", "completions", "embeddings", "responses"):
            for text in ('{ "model":"m",\n"x" : 1.50e1, "max_tokens":9 }', "{}", '{"user":null}'):
                for options in ({}, {"system": "s"}, {"models": frozenset({"m"})}):
                    policy = Policy(OpenAISettings(**options))
                    self.assertEqual(bodies(policy, call(text, path)), [text.encode()])
        get = ApiCall(Request(Route("GET", "models", None), None), USER, "", None)
        self.assertEqual(Policy(OpenAISettings(max_tokens=1)).changes(get), [{}])

    def test_user(self) -> None:
        """The tool's names for its user are replaced by the pseudonym, and not added."""
        body = '{"model": "m", "user" : "ann", "safety_identifier": {"x": 1}, "input": [1.0]}'
        [sent] = bodies(Policy(OpenAISettings()), call(body, "embeddings"))
        expected = f'{{"model": "m", "user" : "{USER}", "safety_identifier": "{USER}", "input": [1.0]}}'
        self.assertEqual(sent, expected.encode())

    def test_spelling(self) -> None:
        """A checked field in another case is refused: some servers would understand it."""
        for field in ("Model", "USER", "Max_Tokens", "u\u017fer", "N_predict"):
            self.assertRefused(field, json.dumps({field: 1}))
        self.assertEqual(self.sent('{"Stream": true, "TOP_p": 1}'), [{"Stream": True, "TOP_p": 1}])


class ModelTests(PolicyTestCase):
    """Fields that name further models."""

    def test_restricted(self) -> None:
        """With a list of models, further ones are refused; null is none."""
        every: tuple[dict[str, Any], ...] = ({"models": frozenset({"m"})}, {"model": "m"})
        for options in every:
            for field in ("models", "fallbacks", "context_window_fallbacks"):
                self.assertRefused(field, json.dumps({field: ["x"]}), **options)
                self.assertEqual(self.sent(json.dumps({field: None}), **options), [{field: None}])

    def test_restrictedNames(self) -> None:
        """The error does not quote a field that is long or cannot be encoded."""
        for field in ("x" * 65 + "fallbacks", "\ud800fallbacks"):
            self.assertRefused("fallbacks", json.dumps({field: ["x"]}), models=frozenset({"m"}), model="m")

    def test_all(self) -> None:
        """If all models are allowed, so are further ones."""
        every: tuple[dict[str, Any], ...] = ({}, {"models": frozenset({"*"}), "model": "m"})
        for options in every:
            self.assertEqual(self.sent('{"models": ["x"]}', **options), [{"models": ["x"]}])

    def test_allowed(self) -> None:
        """The allowed models are those of `models`; otherwise the one of `model`, or all."""
        for options, allowed in (
            ({}, None),
            ({"model": "m"}, frozenset({"m"})),
            ({"model": "m", "models": frozenset({"*"})}, None),
            ({"model": "m", "models": frozenset({"a", "b"})}, frozenset({"a", "b"})),
        ):
            self.assertEqual(OpenAISettings(**options).allowed_models, allowed)

    def test_option(self) -> None:
        """The option is a list of names, or an asterisk alone."""
        self.assertEqual(parse_models(" a,b/c:d ,a"), {"a", "b/c:d"})
        self.assertEqual(parse_models("*"), {"*"})
        for text in ("", "a,", ",a", "a,,b", "*,a"):
            self.assertRaises(ValueError, parse_models, text)


class LimitTests(PolicyTestCase):
    """The maximum length of a reply."""

    def limited(self, body: dict[str, Any], path: str = "chat/completions") -> list[Any]:
        return self.sent(json.dumps(body), path, max_tokens=100)

    def test_kept(self) -> None:
        """A limit of the tool that is not higher stays."""
        for limit in (1, 99, 100):
            self.assertEqual(self.limited({"max_tokens": limit}), [{"max_tokens": limit}])
            self.assertEqual(self.limited({"max_output_tokens": limit}, "responses"), [{"max_output_tokens": limit}])

    def test_capped(self) -> None:
        """A higher limit is lowered, whatever its name, and so is everything that servers may take for none."""
        limits: tuple[Any, ...] = (101, 10**30, 0, -1, 50.0, 1e300, "50", [], {}, True, False)
        for limit in limits:
            self.assertEqual(self.limited({"max_tokens": limit}), [{"max_tokens": 100}])
            for name in ("max_completion_tokens", "n_predict", "max_new_tokens", "num_predict", "max_output_tokens"):
                self.assertEqual(self.limited({name: limit})[0], {"max_tokens": 100, name: 100})

    def test_missing(self) -> None:
        """A missing limit is added under the name that the path has."""
        for body in ({}, {"max_tokens": None}):
            second = {"max_completion_tokens": 100} | body
            for path in ("chat/completions", "completions"):
                self.assertEqual(self.limited(body, path), [{"max_tokens": 100}, second])
        for body in ({}, {"max_output_tokens": None}):
            self.assertEqual(self.limited(body, "responses"), [{"max_output_tokens": 100}])
        self.assertEqual(self.limited({}, "embeddings"), [{}])

    def test_other(self) -> None:
        """A lower limit under another name is repeated, because a server may not know that name."""
        body = {"max_completion_tokens": 7}
        self.assertEqual(self.limited(body), [{"max_tokens": 7} | body, body])

    def test_learned(self) -> None:
        """Once the server has accepted the second body, requests for that model are sent like it."""
        policy = Policy(OpenAISettings(max_tokens=100))
        one, other = call('{"model": "o1"}'), call('{"model": "m"}')
        policy.learn(one)
        self.assertEqual(bodies(policy, one), [b'{"max_completion_tokens": 100, "model": "o1"}'])
        self.assertEqual(len(bodies(policy, other)), 2)
        policy.learn(call("{}"))
        self.assertEqual(len(bodies(policy, call("{}"))), 2)

    def test_learnsFinitely(self) -> None:
        """A user cannot fill the memory with names."""
        policy = Policy(OpenAISettings(max_tokens=100))
        for number in range(1001):
            policy.learn(call(f'{{"model": "{number}"}}'))
        self.assertEqual(len(bodies(policy, call('{"model": "999"}'))), 1)
        self.assertEqual(len(bodies(policy, call('{"model": "1000"}'))), 2)

    @given(
        st.dictionaries(
            st.sampled_from(["max_tokens", "max_completion_tokens", "n_predict", "max_output_tokens", "x"]),
            st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
        ),
        st.sampled_from(["chat/completions", "completions", "responses"]),
        st.integers(min_value=1, max_value=1000),
    )
    def test_holds(self, body: dict[str, Any], path: str, most: int) -> None:
        """Whatever a request says, each limit that is sent holds, and one of them is sent."""
        for sent in self.sent(json.dumps(body), path, max_tokens=most):
            limits = [value for name, value in sent.items() if name != "x" and value is not None]
            self.assertTrue(limits)
            for value in limits:
                self.assertIsInstance(value, int)
                self.assertTrue(1 <= value <= most)


class SystemTests(PolicyTestCase):
    """The system prompt."""

    def told(self, body: str, path: str = "chat/completions") -> str:
        policy = Policy(OpenAISettings(system="be é", system_for_api=True))
        [sent] = bodies(policy, call(body, path))
        return sent.decode()

    def test_messages(self) -> None:
        """It is put before the messages, which stay as they were written."""
        first = '{"role": "system", "content": "be \\u00e9"}'
        self.assertEqual(
            self.told('{"messages": [ {"content" : 1.0e1,\n"role":"user"}] }'),
            '{"messages": [' + first + ', {"content" : 1.0e1,\n"role":"user"}] }',
        )
        self.assertEqual(json.loads(self.told('{"messages": [ ]}')), {"messages": [json.loads(first)]})

    def test_instructions(self) -> None:
        """It is put before the instructions of a response."""
        for body in ("{}", '{"instructions": null}'):
            self.assertEqual(json.loads(self.told(body, "responses")), {"instructions": "be é"})
        sent = self.told('{"instructions": "and\\n\\ud83d"}', "responses")
        self.assertEqual(json.loads(sent), {"instructions": "be é\n\nand\n\ud83d"})

    def test_others(self) -> None:
        """Requests without messages, and invalid ones, are left to the server."""
        for path, body in (
            ("chat/completions", "{}"),
            ("chat/completions", '{"messages": "x"}'),
            ("responses", '{"instructions": ["x"]}'),
            ("completions", '{"prompt": "x"}'),
            ("embeddings", '{"input": "x"}'),
        ):
            self.assertEqual(self.told(body, path), body)

    def test_notAsked(self) -> None:
        """Without system-for-api, requests do not get it."""
        body = '{"messages": []}'
        self.assertEqual(self.sent(body, system="s"), [{"messages": []}])
