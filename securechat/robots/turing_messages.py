"""What the Turing robot's API v2 is asked and what it answers.

Its rules are those of the service's public documentation and of clients that were in use; what could not be confirmed
against the service is said in docs/robots.md.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from securechat.errors import Fault, RobotError
from securechat.i18n import _

FIRST_SUCCESS: Final = 10000  # intent codes from here on are kinds of answers
NO_RESULT: Final = frozenset({5000, 6000})
TRY_AGAIN: Final = 8008  # the service's own error
BAD_USER_ID: Final = frozenset({4100, 4400})

# What the service means by a code that is no answer, for the operator; and what the user hears.
ERRORS: Final[dict[int, tuple[Fault, str]]] = {
    4000: (Fault.INTERNAL, "the request's parameters are wrong"),
    4001: (Fault.REFUSED, "the encryption does not fit: compare the secret, and whether the service expects one"),
    4002: (Fault.REFUSED, "the key may not use this function"),
    4003: (Fault.BUSY, "no calls are left for today"),
    4005: (Fault.REFUSED, "the key may not use this interface"),
    4007: (Fault.REFUSED, "the API key is not valid"),
    4100: (Fault.REFUSED, "the user id was not taken"),
    4200: (Fault.INTERNAL, "the upload's format is wrong"),
    4300: (Fault.BUSY, "too many requests at once"),
    4400: (Fault.REFUSED, "the user id is not legal"),
    4500: (Fault.REFUSED, "the key has too many users"),
    4600: (Fault.INTERNAL, "the input is empty"),
    4602: (Fault.TOO_LONG, "the text is too long"),
    7002: (Fault.INTERNAL, "the upload failed"),
    TRY_AGAIN: (Fault.BROKEN_ANSWER, "the service had an error of its own"),
}


class _Intent(msgspec.Struct):
    code: int


class _Result(msgspec.Struct, rename="camel"):
    group_type: int = 0
    result_type: str = ""
    values: dict[str, Any] = {}


class _Answer(msgspec.Struct):
    intent: _Intent
    results: list[_Result] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer, strict=False)  # codes are said to come as text, too


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An intent code, and the results in readable lines."""

    code: int
    text: str

    @property
    def is_success(self) -> bool:
        """Judged by the code: errors come with a text, too."""
        return self.code >= FIRST_SUCCESS or (self.code == 0 and bool(self.text))


def parse_answer(body: bytes) -> Answer:
    """What the service answered, whatever type it says the body has; RobotError (broken answer) if it is no answer."""
    try:
        answer = _ANSWER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, "the answer is not the API's JSON") from None
    return Answer(answer.intent.code, "\n".join(_lines(answer.results or [])))


def _lines(results: list[_Result]) -> Iterator[str]:
    """The results in their order; those of one group together, its text first: a link often comes before it."""
    order: dict[int, int] = {}
    for position, result in enumerate(results):
        order.setdefault(result.group_type or -position - 1, position)

    def place(item: tuple[int, _Result]) -> tuple[int, bool, int]:
        position, result = item
        return order[result.group_type or -position - 1], result.result_type != "text", position

    for _position, result in sorted(enumerate(results), key=place):
        value = result.values.get(result.result_type)
        if result.result_type == "news" and isinstance(value, list):
            for item in value:
                yield from _news(item)
        elif result.result_type in ("image", "voice", "video", "url") and isinstance(value, str):
            yield _url(value)
        elif isinstance(value, (str, int, float)):
            yield str(value)


def _news(item: object) -> Iterator[str]:
    if not isinstance(item, dict):
        return
    title = " – ".join(str(item[part]) for part in ("name", "info") if item.get(part))
    if title:
        yield f"• {title}"
    if item.get("detailurl"):
        yield f"  {_url(str(item['detailurl']))}"


def _url(url: str) -> str:
    """Addresses come without a scheme, too."""
    return f"http:{url}" if url.startswith("//") else url


def fault_of(code: int) -> RobotError:
    """What a code that is no answer means."""
    fault, meaning = ERRORS.get(code, (Fault.BROKEN_ANSWER, "an unknown code"))
    return RobotError(fault, f"code {code}: {meaning}")


def request(text: str, api_key: str, user_id: str, city: str, province: str) -> bytes:
    """The JSON of a question."""
    return msgspec.json.encode(
        {
            "reqType": 0,
            "perception": {
                "inputText": {"text": text},
                "selfInfo": {"location": {"city": city, "province": province}},
            },
            "userInfo": {"apiKey": api_key, "userId": user_id},
        }
    )


def encrypted(body: bytes, api_key: str, secret: str, timestamp: int) -> bytes:
    """A request as the service takes it when encryption is switched on; `timestamp` in milliseconds.

    MD5, an IV of zeros and no MAC: it hides from a glance, it does not protect. The rule is the service's.
    """
    stamp = str(timestamp)
    inner = hashlib.md5((secret + stamp + api_key).encode(), usedforsecurity=False).hexdigest()
    key = hashlib.md5(inner.encode(), usedforsecurity=False).digest()
    padder = PKCS7(128).padder()
    padded = padder.update(body) + padder.finalize()
    cipher = Cipher(algorithms.AES128(key), modes.CBC(bytes(16))).encryptor()
    data = b64encode(cipher.update(padded) + cipher.finalize()).decode()
    return msgspec.json.encode({"key": api_key, "timestamp": stamp, "data": data})


def no_result() -> str:
    """What the robot says when the service has nothing to say."""
    return _("I found nothing on that.")
