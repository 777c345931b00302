"""The control socket: a request and its answer, in lines of JSON (docs/control.md).

A connection carries one request, which is bounded in size and time. Its answer is rows, then a line that says how it
ended. Rows are made as the client reads them, a few at a time, so that many sessions delay no tick. A command may wait
for a row, for instance for the ledger.
"""

from collections.abc import AsyncIterator
from typing import Final

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPullProducer, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.server.control_commands import COMMANDS, Command, CommandError, Controls
from securechat.transport import IChatTransport

log = Logger()

MAX_REQUEST: Final = 4096  # bytes of a line
MAX_CONNECTIONS: Final = 16
STALL_TIME: Final = 30.0  # seconds for the request, and for each batch of rows to be made and read
BATCH: Final = 50  # rows: some half a millisecond

_decode: Final = Decoder(COMMANDS).decode
_encode: Final = Encoder().encode


def parse_request(line: bytes) -> Command:
    """The command in a line; CommandError if it is not a valid request."""
    try:
        command: Command = _decode(line)
    except (MsgspecError, UnicodeError, RecursionError) as error:
        raise CommandError(f"invalid request: {error}") from None
    return command


@implementer(IPullProducer)
class ControlProtocol(Protocol):
    """One connection to the control socket."""

    transport: IChatTransport

    def __init__(self, factory: "ControlFactory") -> None:
        self._factory = factory
        self._line = b""
        self._command: Command | None = None
        self._rows: AsyncIterator[object] | None = None  # of the answer, once there is a request
        self._batch: Deferred[None] | None = None  # that is being made
        self._stall: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._stall = self._factory.clock.callLater(STALL_TIME, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self._rows is not None:
            return  # after the request, nothing is read
        self._line += data[: MAX_REQUEST + 1 - len(self._line)]
        line, newline, _rest = self._line.partition(b"\n")
        if newline:
            self._answer(line)
        elif len(self._line) > MAX_REQUEST:
            self._answer(None)

    def _answer(self, line: bytes | None) -> None:
        """Begin the answer to a request; None if it is too long."""
        self._line = b""
        self._rows = self._run(line)
        self.transport.registerProducer(self, False)

    async def _run(self, line: bytes | None) -> AsyncIterator[object]:
        """The rows of the answer, and at the end of them an object with the result."""
        try:
            if line is None:
                raise CommandError(f"a request has at most {MAX_REQUEST} bytes")
            self._command = parse_request(line)
            async for row in self._command.run(self._factory.controls):
                yield row
            yield {"result": "ok"}
        except CancelledError:
            raise  # the connection is closed
        except CommandError as error:
            yield {"result": "error", "error": str(error)}
        except Exception:
            log.failure("unhandled error in a command of the control socket")
            yield {"result": "error", "error": "internal error; see the log"}

    # IPullProducer

    def resumeProducing(self) -> None:
        """The client has read what was written before."""
        assert self._rows is not None
        assert self._stall is not None
        self._stall.reset(STALL_TIME)
        self._batch = Deferred.fromCoroutine(self._write_batch(self._rows))
        self._batch.addErrback(lambda failure: failure.trap(CancelledError))

    async def _write_batch(self, rows: AsyncIterator[object]) -> None:
        lines: list[bytes] = []
        async for row in rows:
            lines.append(_encode(row))
            if len(lines) == BATCH:
                break
        if lines:
            self.transport.write(b"\n".join([*lines, b""]))
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        """The transport gives up; connectionLost follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        if self._batch is not None:
            self._batch.cancel()
        self._factory.connections -= 1
        if self._command is not None:
            self._command.finish(self._factory.controls)


class ControlFactory(ServerFactory):
    """Accepts connections to the control socket. Its file mode decides who can connect."""

    noisy = False

    def __init__(self, controls: Controls, clock: IReactorTime) -> None:
        self.controls = controls
        self.clock = clock
        self.connections = 0  # that are open

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol | None:
        """None, and so a closed socket, if there are too many connections."""
        if self.connections >= MAX_CONNECTIONS:
            return None
        self.connections += 1
        return ControlProtocol(self)
