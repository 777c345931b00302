"""A request of a tool, based on that of twisted.web."""

from collections.abc import Callable

from twisted.web.http import Request, datetimeToString

from securechat.client.api.door import Admitted
from securechat.client.api.errors import JSON_TYPE, HttpError
from securechat.client.api.interface import Answer
from securechat.i18n import _
from securechat.transport import IChatTransport
from securechat.wire.items import Head

Headers = tuple[tuple[str, str], ...]


def common_headers(content_type: str) -> Headers:
    """The headers of every response with a body. There is no Server header. The type may be empty: unknown."""
    return (
        ("Date", datetimeToString().decode()),
        *((("Content-Type", content_type),) if content_type else ()),
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
    )


def too_large(max_body: int) -> HttpError:
    """The error for a body that is too large."""
    return HttpError(413, _("the body has more than {limit} bytes").format(limit=max_body))


class ApiRequest(Request):
    """One request and its response.

    The body is kept in memory, and neither it nor cookies are parsed: twisted.web would write a large body to a file.
    """

    transport: IChatTransport
    admitted: Admitted

    __repr__ = object.__repr__  # that of the base class shows the query

    def admit(self, admitted: Admitted, max_body: int, respond: "Callable[[ApiRequest], None]") -> None:
        """The request was accepted. `respond` is called with it when its body is complete."""
        self.admitted = admitted
        self._max_body = max_body
        self._respond = respond
        self._body = bytearray()

    def take_body(self) -> bytes:
        """The body, once: it is not kept."""
        body, self._body = bytes(self._body), bytearray()
        return body

    # Called by the channel

    def parseCookies(self) -> None:
        """Cookies are not used."""

    def gotLength(self, length: int | None) -> None:
        """The length was checked before."""

    def handleContentChunk(self, data: bytes) -> None:
        """Part of the body; HttpError if it becomes too large."""
        if len(self._body) + len(data) > self._max_body:
            raise too_large(self._max_body)
        self._body += data

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete."""
        self.method, self.uri, self.clientproto = command, path, version
        self._respond(self)

    # The response

    def begin(self, head: Head) -> None:
        """The head of a response whose length is not known."""
        retry_after = (("Retry-After", str(head.retry_after)),) if head.retry_after else ()
        self._begin(head.status, common_headers(head.content_type) + retry_after)
        self.write(b"")

    def respond(self, answer: Answer) -> None:
        """A whole response of the client itself."""
        self._respond_whole(200, common_headers(answer.content_type), answer.body)

    def respond_error(self, error: HttpError) -> None:
        """An error as the response."""
        assert self.admitted.interface is not None
        body = self.admitted.interface.format_error(error)
        self._respond_whole(error.status, common_headers(JSON_TYPE) + error.headers, body)

    def respond_nothing(self) -> None:
        """A response without a body, to a preflight request."""
        self._begin(204, (("Date", datetimeToString().decode()),))
        self.finish()

    def unregisterProducer(self) -> None:
        """As in the base class, but also after the connection was lost."""
        if self.channel is not None and self.producer is not None:
            super().unregisterProducer()

    def reset(self) -> None:
        """Reset the connection, so that the tool does not take the part that was written for the whole."""
        self.transport.abortConnection()

    def _respond_whole(self, status: int, headers: Headers, body: bytes) -> None:
        self._begin(status, (*headers, ("Content-Length", str(len(body)))))
        self.write(body)
        self.finish()

    def _begin(self, status: int, headers: Headers) -> None:
        self.setResponseCode(status)
        for name, value in headers + self.admitted.headers:
            self.responseHeaders.addRawHeader(name, value)
