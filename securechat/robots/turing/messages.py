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

from securechat.conversation import Notice
from securechat.errors import Fault, RobotError
from securechat.i18n import N_, _

FIRST_SUCCESS: Final = 10000  # intent codes from here on are kinds of answers
NO_RESULT: Final = frozenset({5000, 6000})
NO_CALLS_LEFT: Final = 4003
TOO_FAST: Final = 4300
BAD_USER_ID: Final = frozenset({4100, 4400})
TRY_AGAIN: Final = 8008  # the service's own error

# What the service means by a code that is no answer: what the user hears, and a sentence for the operator.
ERRORS: Final[dict[int, tuple[Fault, str]]] = {
    4000: (Fault.INTERNAL, N_("the request was not understood; please report it, securechat asked wrongly")),
    4001: (Fault.REFUSED, N_("the encryption does not fit: compare the secret, and whether the service expects one")),
    4002: (Fault.REFUSED, N_("the key may not use this function: look at its rights in the service's console")),
    NO_CALLS_LEFT: (Fault.BUSY, N_("no calls are left for today: wait until midnight in China, or buy more")),
    4005: (Fault.REFUSED, N_("the key may not use this interface: look at its rights in the service's console")),
    4007: (Fault.REFUSED, N_("the API key is not valid: compare it with the service's console")),
    4100: (Fault.REFUSED, N_("the service took neither of two user ids")),
    4200: (Fault.INTERNAL, N_("an upload's format is wrong, although nothing was uploaded")),
    TOO_FAST: (Fault.BUSY, N_("too many requests at once")),
    4400: (Fault.REFUSED, N_("the service found neither of two user ids legal")),
    4500: (Fault.REFUSED, N_("the key has too many users: let in fewer, or buy more")),
    4600: (Fault.INTERNAL, N_("the input is empty; please report it, securechat asked wrongly")),
    4602: (Fault.TOO_LONG, N_("the text is too long for the service")),
    7002: (Fault.INTERNAL, N_("an upload failed, although nothing was uploaded")),
    TRY_AGAIN: (Fault.BROKEN_ANSWER, N_("the service had an error of its own, twice")),
}

# The order in which the results of one group are shown; what else there is comes last.
ORDER: Final = ("text", "url", "news", "image", "voice", "video")

MAX_GROUP_ID: Final = 64  # characters


class TuringError(RobotError):
    """The service answered with a code that is no answer."""

    def __init__(self, code: int) -> None:
        fault, meaning = ERRORS.get(code, (Fault.BROKEN_ANSWER, N_("an unknown code")))
        super().__init__(fault, _("code {code}: {meaning}").format(code=code, meaning=_(meaning)))
        self.code = code


class _Intent(msgspec.Struct):
    code: int


class _Answer(msgspec.Struct):
    intent: _Intent
    results: Any = None  # read with patience: a result that makes no sense does not spoil the others


_ANSWER: Final = msgspec.json.Decoder(_Answer, strict=False)  # codes are said to come as text, too


def parse_answer(body: bytes) -> str:
    """What the service says, in readable lines; the body's type is not looked at, it is said to be text/plain.

    The intent's code decides, for errors come with a text, too. TuringError if it is one; RobotError (broken answer)
    if the body is no answer.
    """
    try:
        answer = _ANSWER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, _("the answer is not the API's JSON")) from None
    code = answer.intent.code
    text = "\n".join(line for result in _in_order(answer.results) for line in _lines(result))
    if code in NO_RESULT or (code >= FIRST_SUCCESS and not text):
        return Notice(_("I found nothing on that."))
    if code >= FIRST_SUCCESS or (code == 0 and text):  # 0: the weather, for one
        return text
    raise TuringError(code)


def _in_order(results: object) -> list[dict[str, Any]]:
    """The results of a group together, where its first one is, and its text first: a link often comes before it."""
    found = [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []
    first: dict[str, int] = {}
    ranked = []
    for place, result in enumerate(found):
        group = _text(result.get("groupType"))
        if group not in ("", "0"):  # those stand alone
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


def _with_scheme(address: str) -> str:
    """Addresses come without a scheme, too."""
    return f"http:{address}" if address.startswith("//") else address


@dataclass(frozen=True, slots=True)
class Place:
    """Where questions come from; nowhere, without a city: the service wants one in every place."""

    city: str = ""
    province: str = ""
    street: str = ""

    def as_json(self) -> dict[str, str]:
        parts = {"city": self.city, "province": self.province, "street": self.street}
        return {name: part for name, part in parts.items() if part} if self.city else {}


def request(text: str, api_key: str, user_id: str, place: Place, group: str = "") -> bytes:
    """The JSON of a question."""
    perception: dict[str, Any] = {"inputText": {"text": text}}
    if location := place.as_json():
        perception["selfInfo"] = {"location": location}
    user = {"apiKey": api_key, "userId": user_id}
    if group:
        user["groupId"] = group
    return msgspec.json.encode({"reqType": 0, "perception": perception, "userInfo": user})


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
