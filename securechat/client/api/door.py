"""Access control: requests of the user's own tools are accepted, those of web pages and other programs are not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from securechat.client.api.errors import Headers, HttpError, openai_error
from securechat.client.api.head import RequestHead
from securechat.client.api.interface import Answer, Interface
from securechat.i18n import _

_ANY_HOST: Final = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_BEARER: Final = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{0,2048}")  # of headers, in a list
_UNKNOWN_SITES: Final = frozenset({b"none", b"same-origin"})  # a page of another site sends something else
_ROOT: Final = Answer(b"Ollama is running", "text/plain; charset=utf-8")  # many tools for Ollama compare the text
_PREFLIGHT_SECONDS: Final = 600


@dataclass(frozen=True)
class DoorSettings:
    """The rules for accepting requests."""

    key: str | None = field(repr=False)  # None: no key is required
    origins: frozenset[str] = frozenset()  # of web pages that may send requests
    any_address: bool = False  # whether requests may come from other machines, by any name of this one


class Admitted(NamedTuple):
    """An accepted request: the interface that responds to it, or the answer. A preflight request has neither."""

    headers: Headers  # of the response
    interface: Interface | None = None
    path: str = ""  # below the folder of the interface
    answer: Answer | None = None


class Door:
    """Accepts or refuses each request by its head, before its body is read."""

    def __init__(self, settings: DoorSettings, interfaces: Mapping[str, Interface]) -> None:
        """`interfaces` by their folders."""
        self._key = None if settings.key is None else settings.key.encode()
        self._origins = {origin.encode(): origin for origin in settings.origins}
        self._host = _ANY_HOST if settings.any_address else _LOOPBACK
        self._interfaces = interfaces

    def admit(self, head: RequestHead) -> Admitted:
        """Accept a request; HttpError if it is refused."""
        self._check_host(head)
        headers = self._check_site(head)
        try:
            return self._admit(head, headers)
        except HttpError as error:
            error.headers += headers
            raise

    def format_error(self, head: RequestHead | None, error: HttpError) -> bytes:
        """The JSON of an error, in the format of the interface that was requested; `head` is None if it is unknown."""
        interface = None if head is None else self._find(head)[0]
        return openai_error(error) if interface is None else interface.format_error(error)

    def _find(self, head: RequestHead) -> tuple[Interface | None, str]:
        """The interface of a request, if there is one, and the path below its folder."""
        path = unquote_to_bytes(head.target.partition(b"?")[0])
        try:
            folder, _slash, rest = path.decode()[1:].partition("/")
        except UnicodeDecodeError:
            return None, ""
        return self._interfaces.get(folder), rest

    def _admit(self, head: RequestHead, headers: Headers) -> Admitted:
        if headers and head.method == "OPTIONS" and head.all(b"access-control-request-method"):
            _check_no_body(head)
            return Admitted(headers + _preflight(head))
        if head.target.partition(b"?")[0] == b"/":
            _check_method(head, ("GET", "HEAD"))
            _check_no_body(head)
            return Admitted(headers, answer=_ROOT)
        self._check_key(head)
        interface, path = self._find(head)
        methods = () if interface is None else interface.methods(path)
        if not methods:
            folders = ", ".join(f"/{folder}/" for folder in self._interfaces)
            raise HttpError(404, _("no such path; the paths of the API begin with {folders}").format(folders=folders))
        _check_method(head, methods)
        if head.method == "POST":
            _check_content(head)
        else:
            _check_no_body(head)
        return Admitted(headers, interface, path)

    def _check_host(self, head: RequestHead) -> None:
        """A web page can make its own name resolve to this machine, and then read the responses (DNS rebinding)."""
        hosts = head.all(b"host")
        if len(hosts) != 1:
            raise HttpError(400, _("expected one Host header"))
        if self._host.fullmatch(hosts[0]) is None:
            raise HttpError(403, _("Host is not a name of this machine; use localhost or 127.0.0.1"))

    def _check_site(self, head: RequestHead) -> Headers:
        """The headers for a web page that may send requests; HttpError if it is another page."""
        origins = head.all(b"origin")
        if not origins:
            if not _UNKNOWN_SITES.issuperset(value.lower() for value in head.all(b"sec-fetch-site")):
                raise HttpError(403, _("requests of web pages are not allowed"))
            return ()
        origin = self._origins.get(origins[0]) if len(origins) == 1 else None
        if origin is None:
            raise HttpError(403, _("requests of web pages are not allowed from this origin; see --serve-origin"))
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "Retry-After"),
            ("Vary", "Origin"),
        )

    def _check_key(self, head: RequestHead) -> None:
        if self._key is None:
            return
        values = head.all(b"authorization")
        match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        # compare_digest takes a time that depends on the length only.
        if match is None or not compare_digest(match.group(1), self._key):
            if values:
                text, challenge = _("wrong API key"), 'Bearer realm="securechat", error="invalid_token"'
            else:
                text, challenge = _("no API key; `securechat … --print-env` prints it"), 'Bearer realm="securechat"'
            raise HttpError(401, text, "invalid_api_key", (("WWW-Authenticate", challenge),))


def _check_method(head: RequestHead, methods: Sequence[str]) -> None:
    if head.method not in methods:
        allowed = ", ".join(methods)
        message = _("this path has only the methods {methods}").format(methods=allowed)
        raise HttpError(405, message, headers=(("Allow", allowed),))


def _check_content(head: RequestHead) -> None:
    """Web pages can send forms and text/plain without a preflight request, but not JSON."""
    types = head.all(b"content-type")
    if len(types) != 1 or types[0].partition(b";")[0].strip().lower() != b"application/json":
        raise HttpError(415, _("expected Content-Type: application/json"))
    if head.all(b"content-encoding"):
        raise HttpError(415, _("Content-Encoding is not supported"))
    if not head.has_body:
        raise HttpError(400, _("the request has no body"))


def _check_no_body(head: RequestHead) -> None:
    if head.has_body:
        raise HttpError(400, _("a {method} request has no body").format(method=head.method))


def _preflight(head: RequestHead) -> Headers:
    """The headers that allow what the page asked for. No header of a request is forwarded."""
    requested = b", ".join(head.all(b"access-control-request-headers"))
    names = requested.decode() if _NAMES.fullmatch(requested) else "Authorization, Content-Type"
    return (
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Allow-Headers", names or "Authorization, Content-Type"),
        ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
    )
