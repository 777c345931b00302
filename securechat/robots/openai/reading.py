"""Reading streams that say themselves when they are complete."""

from typing import Final, Protocol

from securechat.errors import RobotError
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget

MAX_BODY: Final = 64 * 1024 * 1024  # bytes of a response: some 200,000 tokens, most of them reasoning
END_TIMEOUT: Final = 0.5  # seconds to wait for the end of a complete stream, so that its connection can be kept


class IStream(Protocol):
    """What has been read of a stream."""

    @property
    def is_complete(self) -> bool:
        """Whether only the end of the stream is missing."""


async def read(response: Response, stream: IStream, budget: TimeBudget) -> bytes:
    """The next bytes; empty at the end. Once the stream is complete, an error is an end, too."""
    try:
        return await budget.read(response)
    except RobotError:
        if stream.is_complete:
            return b""
        raise
