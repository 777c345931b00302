"""One connection of a tool: HTTP/1.1 as in twisted.web, with a stricter reading of requests, limits and deadlines."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel

from securechat.client.api.door import Admitted, Door
from securechat.client.api.errors import JSON_TYPE, HttpError, passing_error
from securechat.client.api.head import MAX_HEADERS, RequestHead, parse_head
from securechat.client.api.request import ApiRequest, common_headers, too_large
from securechat.i18n import _
from securechat.transport import IChatTransport

MAX_HEAD: Final = 65_536  # bytes of a request's head
MAX_PIPELINED: Final = 16_384  # bytes of further requests that wait for the response to the first
HEAD_TIME: Final = 10  # seconds for a request's head, and until the first one begins
BODY_TIME: Final = 120  # seconds for a request's body
IDLE_TIME: Final = 75  # seconds between two requests; most tools close their connections earlier
CLOSE_TIME: Final = 120  # seconds in which a tool must have read its last response
LINGER_TIME: Final = 5  # seconds in which a tool that is still sending can read why its request was refused


class _State(Enum):
    IDLE = auto()  # between requests
    HEAD = auto()  # a head has begun
    BODY = auto()
    RESPONSE = auto()  # the request is complete
    REFUSED = auto()  # by an error that ends the connection; what arrives is dropped
    CLOSING = auto()  # when the last response was read


class Server(Protocol):
    """The server that a connection belongs to."""

    door: Door

    @property
    def max_body(self) -> int:
        """Bytes in the longest body of a request."""

    def respond(self, request: ApiRequest) -> None:
        """A request is complete."""

    def connection_closed(self) -> None:
        """A connection is closed."""


class Channel(HTTPChannel):
    """A connection of a tool. Any error in the syntax of a request is answered and ends it."""

    MAX_LENGTH = MAX_HEAD
    totalHeadersSize = MAX_HEAD
    maxHeaders = MAX_HEADERS
    requestFactory = ApiRequest
    transport: IChatTransport

    def __init__(self, server: Server, clock: IReactorTime, *, is_surplus: bool) -> None:
        """`is_surplus` if there are too many connections, so that all that this one gets is an error."""
        super().__init__()
        self._clock = clock
        self.timeOut = HEAD_TIME
        self._server = server
        self._is_surplus = is_surplus
        self._state = _State.IDLE
        self._lines: list[bytes] = []  # of a head that is not complete
        self._head_size = 0
        self._head: RequestHead | None = None  # of the present request
        self._admitted: Admitted | None = None
        self._pipelined = 0  # bytes that have arrived since the request was complete

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """The base class sets its timer with this."""
        return self._clock.callLater(period, func)

    # Receiving

    def resetTimeout(self) -> None:
        """Do not extend the time for a head or a body when a part of it arrives."""

    def dataReceived(self, data: bytes) -> None:
        """Data from the tool; dropped if the connection is being closed."""
        if self._state in (_State.REFUSED, _State.CLOSING):
            return
        self._begin_head()
        super().dataReceived(data)

    def _begin_head(self) -> None:
        if self._state is _State.IDLE:
            self._state = _State.HEAD
            self.setTimeout(HEAD_TIME)

    def lineReceived(self, line: bytes) -> None:
        """Collect the lines of a head. The base class gets them when the request has been accepted."""
        self._begin_head()  # also of a request that has arrived together with the one before
        self._head_size += len(line) + len(self.delimiter)
        if self._head_size > MAX_HEAD:
            self._refuse(_head_too_large())
        elif line:
            self._lines.append(line)
        elif self._lines:  # empty lines before a request are skipped
            lines, self._lines, self._head_size = self._lines, [], 0
            try:
                self._head = parse_head(lines)
                self._admitted = self._admit(self._head)
            except HttpError as error:
                self._refuse(error)
                return
            for each in (*lines, b""):
                super().lineReceived(each)

    def lineLengthExceeded(self, line: bytes) -> None:
        """The head is too large."""
        self._refuse(_head_too_large())

    def _admit(self, head: RequestHead) -> Admitted:
        if self._is_surplus:
            raise passing_error(503, _("too many connections"))
        admitted = self._server.door.admit(head)
        max_body = self._server.max_body
        if head.length is not None and head.length > max_body:
            raise too_large(max_body)
        return admitted

    def checkPersistence(self, request: ApiRequest, version: bytes) -> bool:
        """Whether another request may follow."""
        assert self._head is not None
        if not self._head.is_persistent:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return self._head.is_persistent

    def allHeadersReceived(self) -> None:
        """The head is complete; 100 Continue is sent by the base class."""
        assert self._head is not None
        assert self._admitted is not None
        self._state = _State.BODY
        self.setTimeout(BODY_TIME)
        request: ApiRequest = self.requests[-1]
        request.admit(self._admitted, self._server.max_body, self._respond)
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Part of a body, or further requests while a response is written.

        The base class would stop reading when too many of these wait, and so not notice that the tool disconnects. They
        are dropped instead, and the connection is closed after the response.
        """
        if self._state is _State.RESPONSE:
            self._pipelined += len(data)
            if self._pipelined > MAX_PIPELINED:
                self.persistent = False
                return
        try:
            super().rawDataReceived(data)
        except HttpError as error:
            self._refuse(error)

    def _respond(self, request: ApiRequest) -> None:
        self._state = _State.RESPONSE
        self._head = self._admitted = None
        self._pipelined = 0
        self._server.respond(request)

    def requestDone(self, request: ApiRequest) -> None:
        """The response has been written: the next request may begin, and may have arrived."""
        self._state = _State.IDLE if self.persistent else _State.CLOSING
        super().requestDone(request)
        if self._state is _State.IDLE:
            self.setTimeout(IDLE_TIME)
        elif self._state is _State.CLOSING:
            self.setTimeout(CLOSE_TIME)

    # Closing

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The base class calls this for malformed chunks; it has no errors for the rest, which was checked before."""
        self._refuse(HttpError(400, _("malformed request")))

    def _refuse(self, error: HttpError) -> None:
        """Respond with an error, and end the connection when the tool has read it.

        What the tool still sends is read and dropped: closing the socket at once would take the error from it.
        """
        self._state = _State.REFUSED
        is_head = self._head is not None and self._head.method == "HEAD"
        body = self._server.door.format_error(self._head, error)
        length = ("Content-Length", str(len(body)))
        headers = (*common_headers(JSON_TYPE), *error.headers, length, ("Connection", "close"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        status = b"HTTP/1.1 %d %b\r\n" % (error.status, RESPONSES.get(error.status, b"Error"))
        self.transport.write(status + lines.encode() + b"\r\n" + (b"" if is_head else body))
        self.clearLineBuffer()
        self.setRawMode()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER_TIME)

    def timeoutConnection(self) -> None:
        """The time for a head, a body, the next request or closing has passed."""
        match self._state:
            case _State.HEAD | _State.BODY:
                self._refuse(HttpError(408, _("the request took too long to arrive")))
            case _State.IDLE:
                self._state = _State.CLOSING
                self.loseConnection()
                self.setTimeout(CLOSE_TIME)
            case _State.REFUSED | _State.CLOSING | _State.RESPONSE:
                self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The tool has disconnected, or the connection was closed."""
        super().connectionLost(reason)
        self._server.connection_closed()


def _head_too_large() -> HttpError:
    return HttpError(431, _("the head of the request has more than {limit} bytes").format(limit=MAX_HEAD))
