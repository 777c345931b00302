"""A server with the Turing robot's API, version 2, which misbehaves on request.

The tests run it on a real port. To use it by hand, run ``python -m tests.harness.turing_peer 8081`` and, in another
terminal, ``SECURECHAT_ROBOT_KEY=00000000000000000000000000000000 twistd -n securechat --robot turing
-R url=http://127.0.0.1:8081/openapi/api/v2``. These messages have special responses: error codes such as ``4003``,
``slow``, ``hang``, ``huge``, ``broken``, ``cut``, ``reset``, ``html``, ``status``, ``redirect``, ``links``, ``news``,
``bom``, ``empty``, ``weather``, ``once`` (an internal error, but only once) and ``new user`` (the first user id is
rejected). Any other message is repeated.
"""

import hashlib
import json
import re
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any, cast

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

KEY = "0" * 32
SECRET = "0123456789abcdef"
PATH = "/openapi/api/v2"
MAX_SKEW = 300  # seconds between both clocks; the service's limit is not documented


def text_result(text: str, group: int = 0) -> dict[str, Any]:
    return {"groupType": group, "resultType": "text", "values": {"text": text}}


def answer(code: int, *results: dict[str, Any]) -> dict[str, Any]:
    return {"intent": {"code": code, "intentName": "", "actionName": ""}, "results": list(results)}


LINKS = answer(
    10005,
    {"groupType": 1, "resultType": "url", "values": {"url": "http://m.example/hotels"}},
    text_result("亲,已帮你找到相关酒店信息", 1),
)
NEWS = answer(
    10003,
    {
        "groupType": 0,
        "resultType": "news",
        "values": {
            "news": [
                {"name": "One", "info": "of today", "icon": "//img.example/1", "detailurl": "//news.example/1"},
                {"name": "Two", "info": "", "icon": "", "detailurl": ""},
            ]
        },
    },
)


def decrypt(outer: dict[str, str]) -> dict[str, Any]:
    """The service's decryption, written from its description without the robot's code."""
    inner = hashlib.md5((SECRET + outer["timestamp"] + outer["key"]).encode()).hexdigest()
    cipher = Cipher(algorithms.AES128(hashlib.md5(inner.encode()).digest()), modes.CBC(bytes(16))).decryptor()
    padded = cipher.update(b64decode(outer["data"])) + cipher.finalize()
    unpadder = PKCS7(128).unpadder()
    found: dict[str, Any] = json.loads(unpadder.update(padded) + unpadder.finalize())
    return found


class TuringPeer(Resource):
    """The API's only resource.

    `asked` are the decoded requests, `hosts` their Host headers; `lost` counts clients that disconnected early.
    """

    isLeaf = True

    def __init__(self, clock: Any, *, with_secret: bool = False, errors_have_text: bool = True) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.hosts: list[str] = []
        self.lost = 0
        self._clock = clock
        self._with_secret = with_secret
        self._errors_have_text = errors_have_text
        self._failures_left = 1
        self._special: dict[str, Callable[[Request], Any]] = {
            "slow": self._slow,
            "hang": lambda request: NOT_DONE_YET,
            "huge": lambda request: b" " * (2 * 1024 * 1024),
            "broken": lambda request: b'{"intent": {"code": 10004',
            "cut": self._cut,
            "reset": self._reset,
            "html": lambda request: b"<html>502 Bad Gateway</html>",
            "status": self._status,
            "redirect": self._redirect,
            "links": lambda request: LINKS,
            "news": lambda request: NEWS,
            "bom": lambda request: b"\xef\xbb\xbf" + json.dumps(answer(10004, text_result("marked"))).encode(),
            "empty": lambda request: answer(10004),
            "weather": lambda request: {
                "intent": {"code": 0, "appKey": "platform.weather"},
                "results": [text_result("晴")],
            },
            "once": self._fail_once,
            "new user": self._reject_first_user,
        }

    def render_POST(self, request: Request) -> Any:
        request.notifyFinish().addErrback(self._disconnected)
        self.hosts.append(request.getRequestHostname().decode())
        made = self._make(json.loads(cast(Any, request).content.read()), request)
        if isinstance(made, dict):
            request.setHeader("Content-Type", "text/plain;charset=UTF-8")  # as the service
            return json.dumps(made, ensure_ascii=False).encode()
        return made

    def _disconnected(self, reason: object) -> None:
        self.lost += 1

    def _make(self, body: dict[str, Any], request: Request) -> Any:
        if ("data" in body) != self._with_secret:
            return self._error(4001)
        if self._with_secret:
            if abs(int(body["timestamp"]) / 1000 - time.time()) > MAX_SKEW:
                return self._error(4001)
            try:
                body = decrypt(body)
            except ValueError:
                return self._error(4001)
        self.asked.append(body)
        user = body["userInfo"]
        if user["apiKey"] != KEY:
            return self._error(4007)
        if not re.fullmatch("[0-9A-Za-z]{1,32}", user["userId"]):
            return self._error(4400)
        text = body["perception"]["inputText"]["text"]
        if not 1 <= len(text) <= 128:
            return self._error(4602)
        if re.fullmatch(r"\d+", text):
            return self._error(int(text))
        special = self._special.get(text)
        return special(request) if special else answer(10004, text_result(text))

    def _error(self, code: int) -> dict[str, Any]:
        if self._errors_have_text:
            return answer(code, text_result("请求次数超限制!"))
        return {"intent": {"code": code}}

    def _slow(self, request: Request) -> Any:
        def finish() -> None:
            request.write(json.dumps(answer(10004, text_result("at last"))).encode())
            request.finish()

        call = self._clock.callLater(0.2, finish)
        request.notifyFinish().addErrback(lambda _failure: call.cancel())
        return NOT_DONE_YET

    def _cut(self, request: Request) -> Any:
        request.setHeader("Content-Length", "1000")
        request.write(b'{"intent":')
        cast(Any, request).channel.transport.loseConnection()
        return NOT_DONE_YET

    def _reset(self, request: Request) -> Any:
        cast(Any, request).channel.transport.abortConnection()
        return NOT_DONE_YET

    def _status(self, request: Request) -> Any:
        request.setResponseCode(503)
        return answer(10004, text_result("never shown"))

    def _redirect(self, request: Request) -> Any:
        request.redirect(b"/elsewhere")
        return b""

    def _fail_once(self, request: Request) -> Any:
        if self._failures_left:
            self._failures_left -= 1
            return self._error(8008)
        return answer(10004, text_result("better now"))

    def _reject_first_user(self, request: Request) -> Any:
        """Reject the first user id that was ever sent."""
        users = [asked["userInfo"]["userId"] for asked in self.asked]
        return self._error(4100) if users[-1] == users[0] else answer(10004, text_result("nice to meet you"))


def main() -> None:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 8081
    port = reactor.listenTCP(number, Site(TuringPeer(reactor)), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}{PATH}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
