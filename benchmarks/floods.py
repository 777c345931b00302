"""``python -m benchmarks.floods``: what a flood of Hellos does to other users of a daemon with its default limits.

A process connects as fast as it can, from one address or from 200, sends a Hello that it has recorded, and keeps its
last connections open. Meanwhile clients from other addresses connect one after the other, and one that was admitted
before says something again and again. A client that is refused tries again at once. The exit status is 1 if a client
has to wait for a second, or the log grows by more than a megabyte a minute.
"""

import argparse
import multiprocessing
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Final, NamedTuple

from benchmarks.limits import Figure, report
from benchmarks.loads import SecureChatClient, address_of, secure_client, talk
from benchmarks.process import prepare_load
from benchmarks.servers import limited_securechat
from securechat.wire.client_connection import ClientConnection
from securechat.wire.handshake import ClientHandshake
from securechat.wire.suites import DEFAULT_SUITE, SUITES

SOURCES: Final = (1, 200)  # of a flood
SECONDS: Final = 30.0
PAUSE: Final = 0.2  # seconds from one client to the next
HELD: Final = 500  # connections that a flood keeps open
NICENESS: Final = 10  # of the flood: its CPU time must not delay the clients, which share its core
USERS: Final = 50_000  # the number of the first user's address
MAX_WAIT: Final = 1000.0  # ms
MAX_LOG: Final = 1.0  # MB a minute
TIMEOUT: Final = 1.0  # seconds of a flood for an answer


def recorded_hello() -> bytes:
    """A valid Hello. A flood sends the same one again, which costs it nothing."""
    suite = SUITES[DEFAULT_SUITE]
    handshake = ClientHandshake(suite, suite.generate_key(), "[127.0.0.1]:8080", lambda blob: None)
    return ClientConnection(handshake, time.monotonic).data_to_send()


def flood(port: int, sources: int, count: "Synchronized[int]") -> None:
    """Connect again and again, from so many addresses in turn. Never returns."""
    os.nice(NICENESS)
    hello = recorded_hello()
    held: deque[socket.socket] = deque()
    while True:
        with suppress(OSError):
            source = (address_of(count.value % sources), 0)
            connection = socket.create_connection(("127.0.0.1", port), TIMEOUT, source)
            held.append(connection)
            connection.sendall(hello)
        count.value += 1
        if len(held) > HELD:
            held.popleft().close()


@contextmanager
def flooded(port: int, sources: int) -> Iterator["Synchronized[int]"]:
    """A flood, and the number of its connections, as long as the block lasts."""
    count: Any = multiprocessing.Value("q", 0)
    process = multiprocessing.Process(target=flood, args=(port, sources, count), daemon=True)
    process.start()
    try:
        yield count
    finally:
        process.kill()
        process.join()


class Waits(NamedTuple):
    """What the users of a daemon wait for, in seconds, and how many of their attempts were refused."""

    admissions: list[float]
    replies: list[float]
    refused: int


def use(port: int, inside: SecureChatClient, seconds: float) -> Waits:
    """Connect clients one after the other for this time, while `inside` is in a session."""
    waits = Waits([], [], 0)
    refused = number = 0
    end = time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        client = None
        while client is None:
            try:
                client = secure_client(port, address_of(USERS + number))
            except OSError:
                refused += 1
        waits.admissions.append(time.monotonic() - before)
        client.leave()
        number += 1
        before = time.monotonic()
        talk([inside], 1, "hello")
        waits.replies.append(time.monotonic() - before)
        time.sleep(PAUSE)
    return waits._replace(refused=refused)


def measure(sources: int, seconds: float) -> list[Figure]:
    with limited_securechat("--robot", "echo", "--message-burst", "100000") as (server, daemon):
        inside = secure_client(server.port)
        talk([inside], 1, "hello")
        logged = daemon.log_size()
        with flooded(server.port, sources) as count:
            start, spent = time.monotonic(), server.cpu()
            waits = use(server.port, inside, seconds)
            lasted, core = time.monotonic() - start, server.cpu() - spent
        logged = daemon.log_size() - logged
        inside.socket.close()
    name = "a flood from 1 address" if sources == 1 else f"a flood from {sources} addresses"
    return [
        Figure(f"{name}, attempts to connect per second", count.value / lasted),
        Figure(
            f"{name}, {len(waits.admissions)} other clients admitted, maximum, ms",
            max(waits.admissions) * 1e3,
            MAX_WAIT,
        ),
        Figure(f"{name}, refused attempts of these clients", waits.refused),
        Figure(f"{name}, first reply in an open session, maximum, ms", max(waits.replies) * 1e3, MAX_WAIT),
        Figure(f"{name}, log, MB a minute", logged / 1e6 / lasted * 60, MAX_LOG),
        Figure(f"{name}, one core, %", core / lasted * 100),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each flood (default: 30)")
    seconds = parser.parse_args().seconds
    prepare_load()
    sys.exit(not report([figure for sources in SOURCES for figure in measure(sources, seconds)]))


if __name__ == "__main__":
    main()
