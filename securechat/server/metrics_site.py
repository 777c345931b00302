"""The HTTP server of ``--metrics``: `/metrics` for Prometheus, `/healthz` and `/readyz` for supervisors.

prometheus_client has a resource for twisted.web, too, which is going to be removed (its issue 554).
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from securechat.transport import IChatTransport

MAX_CONNECTIONS: Final = 16
IDLE_TIME: Final = 75  # seconds for a request's head, and between two requests; Prometheus' default is a minute
MAX_HEAD: Final = 8192  # bytes of a request's head
MAX_HEADERS: Final = 32
MAX_ACCEPT: Final = 1024  # bytes of the header, which is parsed
MAX_AGE: Final = 0.5  # seconds for which the metrics are served again: many readers must not delay ticks

TEXT: Final = "text/plain; charset=utf-8"

Page = tuple[int, str, bytes]  # status, content type and body


class Pages:
    """What is served."""

    def __init__(self, registry: CollectorRegistry, is_ready: Callable[[], bool], clock: IReactorTime) -> None:
        """`is_ready`: whether clients are admitted."""
        self._registry = registry
        self._is_ready = is_ready
        self._clock = clock
        self._metrics: Page = (0, "", b"")
        self._old_at = 0.0  # seconds of the clock

    def get(self, path: bytes, accept: str) -> Page:
        """The page at a path, in the format that `accept`, the header of this name, prefers."""
        match path:
            case b"/metrics":
                return self._read_metrics(accept[:MAX_ACCEPT])
            case b"/healthz":
                return 200, TEXT, b"ok\n"
            case b"/readyz":
                return (200, TEXT, b"ready\n") if self._is_ready() else (503, TEXT, b"stopping\n")
        return 404, TEXT, b"expected /metrics, /healthz or /readyz\n"

    def _read_metrics(self, accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        now = self._clock.seconds()
        if self._metrics[1] != content_type or now >= self._old_at:
            self._metrics = (200, content_type, encode(self._registry))
            self._old_at = now + MAX_AGE
        return self._metrics


class _Request(Request):
    """A request without a body: twisted.web would write a large one to a file, and parse forms and cookies."""

    channel: "_Channel"
    transport: IChatTransport

    def parseCookies(self) -> None:
        pass

    def gotLength(self, length: int | None) -> None:
        if length != 0:
            self.transport.abortConnection()

    def handleContentChunk(self, data: bytes) -> None:
        pass

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        if command not in (b"GET", b"HEAD"):
            page = (405, TEXT, b"expected GET\n")
        else:
            page = self.channel.pages.get(path.partition(b"?")[0], self.getHeader("Accept") or "")
        status, content_type, body = page
        self.setResponseCode(status)
        for name, value in (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.responseHeaders.addRawHeader(name, value)
        self.write(body)  # but not after HEAD
        self.finish()


class _Channel(HTTPChannel):
    """A connection of a reader."""

    totalHeadersSize = MAX_HEAD
    maxHeaders = MAX_HEADERS
    requestFactory = _Request
    timeOut = IDLE_TIME

    def __init__(self, site: "MetricsSite", pages: Pages, clock: IReactorTime) -> None:
        super().__init__()
        self.pages = pages
        self._site = site
        self._clock = clock

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """The base class sets its timer with this."""
        return self._clock.callLater(period, func)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._site.connections -= 1
        super().connectionLost(reason)


class MetricsSite(ServerFactory):
    """Serves a few readers. There is no access log: Prometheus would fill it."""

    noisy = False

    def __init__(self, pages: Pages, clock: IReactorTime) -> None:
        self._pages = pages
        self._clock = clock
        self.connections = 0  # that are open

    def buildProtocol(self, addr: IAddress | None) -> HTTPChannel | None:
        """None, and so a closed socket, if there are too many connections."""
        if self.connections >= MAX_CONNECTIONS:
            return None
        self.connections += 1
        return _Channel(self, self._pages, self._clock)
