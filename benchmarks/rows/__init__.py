"""All rows of the table."""

from collections.abc import Sequence
from typing import Final

from benchmarks.row import Row
from benchmarks.rows.api import API
from benchmarks.rows.handshakes import HANDSHAKES
from benchmarks.rows.idle import IDLE
from benchmarks.rows.pingpong import PING_PONG
from benchmarks.rows.start import STARTS
from benchmarks.rows.streams import STREAMS

ROWS: Final[Sequence[Row]] = (*HANDSHAKES, PING_PONG, IDLE, *STREAMS, *API, *STARTS)
