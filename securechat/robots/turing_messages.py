"""What the Turing robot's API v2 is asked and what it answers.

Its rules are those of the service's public documentation and of clients that were in use; what could not be confirmed
against the service is said in docs/robots.md.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
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

MAX_ITEMS: Final = 100  # results, or items of one, that are shown; who could read more

# The order in which the results of one group are shown; what else there is comes last.
ORDER: Final = ("text", "url", "news", "image", "voice", "video")


class TuringError(RobotError):
    """The service answered with a code that is no answer."""

    def __init__(self, code: int) -> None:
        fault, meaning = ERRORS.get(code, (Fault.BROKEN_ANSWER, "an unknown code"))
        super().__init__(fault, f"code {code}: {meaning}")
        self.code = code


class _Intent(msgspec.Struct):
    code: int


class _Result(msgspec.Struct, rename="camel"):
    group_type: int | None = None
    result_type: str | None = None
    values: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    intent: _Intent
    results: list[_Result] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer, strict=False)  # codes are said to come as text, too


def parse_reply(body: bytes) -> str:
    """What the service says, in readable lines; the body's type is not looked at, it is said to be text/plain.

    The intent's code decides: errors come with a text, too. TuringError if it is one, RobotError (broken answer) if
    the body is no answer.
    """
    try:
        answer = _ANSWER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, "the answer is not the API's JSON") from None
    code = answer.intent.code
    results = _in_order((answer.results or [])[:MAX_ITEMS])
    text = "\n".join(line for result in results for line in _lines(result))
    if code in NO_RESULT or (code >= FIRST_SUCCESS and not text):
        return _("I found nothing on that.")
    if code >= FIRST_SUCCESS or (code == 0 and text):
        return text
    raise TuringError(code)


def _in_order(results: list[_Result]) -> list[_Result]:
    """The items of a group together, where its first one is, and its text first: a link often comes before it."""
    first: dict[int, int] = {}
    places = [first.setdefault(result.group_type, at) if result.group_type else at for at, result in enumerate(results)]

    def rank(item: tuple[int, _Result]) -> tuple[int, int]:
        place, result = item
        return place, ORDER.index(result.result_type) if result.result_type in ORDER else len(ORDER)

    return [result for _place, result in sorted(zip(places, results, strict=True), key=rank)]


def _lines(result: _Result) -> Iterator[str]:
    value = (result.values or {}).get(result.result_type or "")
    if isinstance(value, list):
        for item in value[:MAX_ITEMS]:
            yield from _news(item)
    elif text := _text(value):
        yield text if result.result_type == "text" else _with_scheme(text)


def _news(item: object) -> Iterator[str]:
    """A title, and where more of it is: the article, else the picture."""
    if not isinstance(item, dict):
        return
    if title := " – ".join(filter(None, (_text(item.get("name")), _text(item.get("info"))))):
        yield f"• {title}"
    if address := _text(item.get("detailurl")) or _text(item.get("icon")):
        yield f"  {_with_scheme(address)}"


def _text(value: object) -> str:
    """A text or number as text; nothing of what is neither."""
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _with_scheme(text: str) -> str:
    """Addresses come without a scheme, too."""
    return f"http:{text}" if text.startswith("//") else text


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
