"""Requests and responses of the Turing robot's API, version 2.

They follow the public documentation of the service and the code of other clients. docs/robots.md says what could not be
confirmed against the service.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from securechat.conversation import Notice
from securechat.errors import Fault, RobotError
from securechat.i18n import _

FIRST_SUCCESS: Final = 10000  # intent codes from here on are successes
NO_RESULT: Final = frozenset({5000, 6000})
NO_CALLS_LEFT: Final = 4003
TOO_FAST: Final = 4300
BAD_USER_ID: Final = frozenset({4100, 4400})
TRY_AGAIN: Final = 8008  # internal error of the service

# Error codes: the fault that is shown to the user, and the text for the operator.
ERRORS: Final[dict[int, tuple[Fault, str]]] = {
    4000: (Fault.INTERNAL, "malformed request; please report this bug in securechat"),
    4001: (Fault.REFUSED, "encryption error; check the secret, and in the console whether encryption is on"),
    4002: (Fault.REFUSED, "no permission for this function; check the key in the service's console"),
    NO_CALLS_LEFT: (Fault.BUSY, "the daily quota is used up; wait until midnight in China, or buy more calls"),
    4005: (Fault.REFUSED, "no permission for this API; check the key in the service's console"),
    4007: (Fault.REFUSED, "invalid API key; compare it with the service's console"),
    4100: (Fault.REFUSED, "the service accepted neither of two user ids"),
    4200: (Fault.INTERNAL, "wrong format of an upload, although nothing was uploaded"),
    TOO_FAST: (Fault.BUSY, "too many requests"),
    4400: (Fault.REFUSED, "the service rejected two user ids as illegal"),
    4500: (Fault.REFUSED, "too many users for this key; authorize fewer users, or buy more"),
    4600: (Fault.INTERNAL, "empty message; please report this bug in securechat"),
    4602: (Fault.TOO_LONG, "the message is too long"),
    7002: (Fault.INTERNAL, "failed upload, although nothing was uploaded"),
    TRY_AGAIN: (Fault.BROKEN_ANSWER, "internal error of the service, twice"),
}

# The order of the results within a group; other types come last.
ORDER: Final = ("text", "url", "news", "image", "voice", "video")

MAX_GROUP_ID: Final = 64  # characters


class TuringError(RobotError):
    """The service answered with an error code."""

    def __init__(self, code: int) -> None:
        fault, meaning = ERRORS.get(code, (Fault.BROKEN_ANSWER, "unknown code"))
        super().__init__(fault, f"code {code}: {meaning}")
        self.code = code


class _Intent(msgspec.Struct):
    code: int


class _Answer(msgspec.Struct):
    intent: _Intent
    results: Any = None  # not typed: an invalid result must not invalidate the others


_ANSWER: Final = msgspec.json.Decoder(_Answer, strict=False)  # a code may be a string


def parse_answer(body: bytes) -> str:
    """The text of a response. Its content type is not checked: the service sends text/plain.

    TuringError if the code is that of an error, which has a text as well; RobotError (broken answer) if the response
    cannot be parsed.
    """
    try:
        answer = _ANSWER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, "unexpected JSON in the response") from None
    code = answer.intent.code
    text = "\n".join(line for result in _in_order(answer.results) for line in _lines(result))
    if code in NO_RESULT or (code >= FIRST_SUCCESS and not text):
        return Notice(_("I found no results."))
    if code >= FIRST_SUCCESS or (code == 0 and text):  # 0: the weather, for example
        return text
    raise TuringError(code)


def _in_order(results: object) -> list[dict[str, Any]]:
    """Each group at the place of its first result, with its text first: the service often sends a link before it."""
    found = [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []
    first: dict[str, int] = {}
    ranked = []
    for place, result in enumerate(found):
        group = _text(result.get("groupType"))
        if group not in ("", "0"):  # results without a group
            place = first.setdefault(group, place)
        kind = result.get("resultType")
        ranked.append((place, ORDER.index(kind) if kind in ORDER else len(ORDER), result))
    return [result for *_rank, result in sorted(ranked, key=lambda item: item[:2])]


def _lines(result: dict[str, Any]) -> Iterator[str]:
    kind, values = result.get("resultType"), result.get("values")
    value = values.get(kind) if isinstance(values, dict) and isinstance(kind, str) else values
    if isinstance(value, list):
        for item in value:
            yield from _news(item)
    elif text := _text(value):
        yield text if kind == "text" else _with_scheme(text)


def _news(item: object) -> Iterator[str]:
    """A title, and the address of the article or else of the picture."""
    if not isinstance(item, dict):
        return
    if title := " – ".join(filter(None, (_text(item.get("name")), _text(item.get("info"))))):
        yield f"• {title}"
    if address := _text(item.get("detailurl")) or _text(item.get("icon")):
        yield f"  {_with_scheme(address)}"


def _text(value: object) -> str:
    """A string or number as text; empty for anything else."""
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _with_scheme(address: str) -> str:
    """Some addresses have no scheme."""
    return f"http:{address}" if address.startswith("//") else address


@dataclass(frozen=True, slots=True)
class Place:
    """The location of the users. Without a city it is not sent, because the service requires one."""

    city: str = ""
    province: str = ""
    street: str = ""

    def as_json(self) -> dict[str, str]:
        parts = {"city": self.city, "province": self.province, "street": self.street}
        return {name: part for name, part in parts.items() if part} if self.city else {}


def request(text: str, api_key: str, user_id: str, place: Place, group: str = "") -> bytes:
    """The JSON of a request."""
    perception: dict[str, Any] = {"inputText": {"text": text}}
    if location := place.as_json():
        perception["selfInfo"] = {"location": location}
    user = {"apiKey": api_key, "userId": user_id}
    if group:
        user["groupId"] = group
    return msgspec.json.encode({"reqType": 0, "perception": perception, "userInfo": user})


def encrypted(body: bytes, api_key: str, secret: str, timestamp: int) -> bytes:
    """A request with the service's own encryption; `timestamp` is in milliseconds.

    It obscures a request but does not protect it: MD5, an IV of zeros, no MAC.
    """
    stamp = str(timestamp)
    inner = hashlib.md5((secret + stamp + api_key).encode(), usedforsecurity=False).hexdigest()
    key = hashlib.md5(inner.encode(), usedforsecurity=False).digest()
    padder = PKCS7(128).padder()
    padded = padder.update(body) + padder.finalize()
    cipher = Cipher(algorithms.AES128(key), modes.CBC(bytes(16))).encryptor()
    data = b64encode(cipher.update(padded) + cipher.finalize()).decode()
    return msgspec.json.encode({"key": api_key, "timestamp": stamp, "data": data})
