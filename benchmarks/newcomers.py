"""``python -m benchmarks.newcomers``: a daemon that streams 2,000 replies, and how fast it admits further clients.

The replies are those of a model's server, each with its own conversation. Meanwhile clients connect one after the
other. Printed are the time from connecting to being admitted, and how late ticks are as the clients see it. The exit
status is 1 if one of them is above its limit.
"""

import argparse
import math
import sys
import time
from typing import Final

from benchmarks.limits import Figure, report
from benchmarks.listeners import Audience, SecureListener
from benchmarks.loads import SecureChatClient, address_of, secure_client
from benchmarks.process import Server, prepare_load
from benchmarks.rows.streams import MEASURED, ROBOT, lateness, quantile, records
from benchmarks.servers import model_server, securechat
from securechat.server.settings import ServerSettings

TRAINS: Final = 2000
RATE: Final = 5.0  # tokens per second of each reply: 10,000 of all
NEWCOMERS: Final = 300
PAUSE: Final = 0.05  # seconds from one newcomer to the next
SPREAD: Final = 10.0  # seconds in which the replies begin
SETTLE: Final = 2.0  # seconds from then to the measurement
MAX_ADMISSION: Final = 250.0  # ms, for 99 of 100 newcomers
MAX_LATENESS: Final = 20.0  # ms, for 99 of 100 ticks


def admit(server: Server, audience: Audience, newcomers: int) -> list[float]:
    """Connect so many clients one after the other; the seconds until each was admitted."""
    admitted: list[SecureChatClient] = []
    waits = []
    try:
        for number in range(newcomers):
            before = time.monotonic()
            admitted.append(secure_client(server.port, address_of(number)))
            waits.append(time.monotonic() - before)
            audience.listen(PAUSE)
    finally:
        for client in admitted:
            client.socket.close()
    return waits


def measure(trains: int, newcomers: int) -> list[Figure]:
    with model_server(RATE) as model, securechat(*ROBOT, "-R", f"url=http://127.0.0.1:{model}") as server:
        listeners = [SecureListener(server.port) for _ in range(trains)]
        audience = Audience(listeners, math.ceil(trains / MEASURED))
        try:
            audience.ask(SPREAD)
            audience.listen(SETTLE)
            audience.begin_window()
            start, spent = time.monotonic(), server.cpu()
            waits = admit(server, audience, newcomers)
            core = (server.cpu() - spent) / (time.monotonic() - start)
        finally:
            audience.close()
    tick = ServerSettings().tick
    late = [each for one in audience.measured.values() for each in lateness(records(one), tick)[one.early :]]
    return [
        Figure(
            f"{newcomers} newcomers beside {trains:,} trains, admitted, 99 %, ms",
            quantile(waits, 0.99) * 1e3,
            MAX_ADMISSION,
        ),
        Figure("the same, median, ms", quantile(waits, 0.5) * 1e3),
        Figure("lateness of a tick, 99 %, ms", quantile(late, 0.99) * 1e3, MAX_LATENESS),
        Figure("lateness of a tick, median, ms", quantile(late, 0.5) * 1e3),
        Figure("one core, %", core * 100),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.newcomers", description=__doc__)
    parser.add_argument("--trains", type=int, default=TRAINS, help="replies that are streamed (default: 2000)")
    parser.add_argument("--newcomers", type=int, default=NEWCOMERS, help="clients that connect (default: 300)")
    options = parser.parse_args()
    prepare_load()
    sys.exit(not report(measure(options.trains, options.newcomers)))


if __name__ == "__main__":
    main()
