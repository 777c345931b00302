"""The head of an HTTP request, parsed more strictly than in twisted.web.

Syntax that two programs may interpret differently is refused, because requests can be smuggled with it.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from securechat.client.api.errors import HttpError
from securechat.i18n import _

MAX_HEADERS: Final = 128  # SDKs send some 20, browsers some 30

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_REQUEST_LINE: Final = re.compile(rb"(%b) ([!-~]++) HTTP/1\.([01])" % _TOKEN)
_HEADER: Final = re.compile(rb"(%b):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)" % _TOKEN)
_LENGTH: Final = re.compile(rb"[0-9]{1,16}")


class RequestHead(NamedTuple):
    """The request line and the headers of a request. The names of the headers are in lower case."""

    method: str
    target: bytes  # an absolute path, perhaps with a query
    is_http_1_1: bool
    headers: dict[bytes, list[bytes]]
    length: int | None  # bytes of the body; None if it is chunked

    def all(self, name: bytes) -> Sequence[bytes]:
        """The values of a header; more than one if it occurs more than once."""
        return self.headers.get(name, ())

    @property
    def has_body(self) -> bool:
        """Whether a body follows, of which the length may not be known."""
        return self.length != 0

    @property
    def is_persistent(self) -> bool:
        """Whether the connection is kept for the next request: not in HTTP/1.0."""
        options = b",".join(self.all(b"connection")).lower().split(b",")
        return self.is_http_1_1 and b"close" not in (option.strip() for option in options)


def parse_head(lines: Sequence[bytes]) -> RequestHead:
    """Parse the lines of a head, without their CR LF; HttpError if they are malformed."""
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None:
        raise HttpError(400, _("malformed request line"))
    method, target, minor = request.groups()
    if not target.startswith(b"/"):  # the authority of another form would replace Host
        raise HttpError(400, _("the request target is not a path"))
    if len(lines) > 1 + MAX_HEADERS:
        raise HttpError(431, _("too many headers"))
    headers: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:  # among them continuation lines, and lines that end in LF or CR alone
            raise HttpError(400, _("malformed header"))
        name, value = header.groups()
        headers.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    if [value.lower() for value in headers.get(b"expect", [])] not in ([], [b"100-continue"]):
        raise HttpError(417, _("only Expect: 100-continue is supported"))
    is_http_1_1 = minor == b"1"
    return RequestHead(method.decode(), target, is_http_1_1, headers, _body_length(headers, is_http_1_1))


def _body_length(headers: dict[bytes, list[bytes]], is_http_1_1: bool) -> int | None:
    """The length of the body; None if it is chunked. HttpError if it is ambiguous."""
    lengths = headers.get(b"content-length", [])
    codings = headers.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise HttpError(400, _("more than one length of the body"))
    if codings:
        if not is_http_1_1:
            raise HttpError(400, _("HTTP/1.0 has no Transfer-Encoding"))
        if codings[0].lower() != b"chunked":
            raise HttpError(501, _("unknown Transfer-Encoding"))
        return None
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        raise HttpError(400, _("malformed Content-Length"))
    return int(lengths[0]) if lengths else 0
