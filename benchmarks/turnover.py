"""``python -m benchmarks.turnover``: whether 10,000 sessions, one after the other, leave memory or descriptors behind.

Eight clients at a time connect, say something, and leave properly, in the middle of a reply, or before the handshake is
complete; others send bytes that are no Hello. The daemon is observed after 2,000 sessions, when its memory has settled,
and after 10,000 more. The exit status is 1 if it has grown by 5 % or has more descriptors.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.leaks import GROWTH, SETTLE, State
from benchmarks.limits import Figure, report
from benchmarks.loads import connect, secure_client, talk
from benchmarks.process import prepare_load
from benchmarks.servers import securechat

SESSIONS: Final = 10_000
WARM: Final = 2000  # sessions before the first observation
AT_ONCE: Final = 8
TEXT: Final = "x" * 2000  # long enough to show if it were kept


def leave(port: int) -> None:
    """A session that ends as it should."""
    client = secure_client(port)
    talk([client], 1, TEXT)
    client.leave()


def cut(port: int) -> None:
    """A client that disconnects while its reply is sent."""
    client = secure_client(port)
    client.send(1, TEXT)
    client.receive()
    client.socket.close()


def stay_silent(port: int) -> None:
    """A session without a message."""
    secure_client(port).leave()


def send_nonsense(port: int) -> None:
    """A client of another protocol."""
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(1)


def disconnect(port: int) -> None:
    """A client that sends nothing."""
    connect(port).close()


KINDS: Final[Sequence[Callable[[int], None]]] = (
    leave,
    cut,
    leave,
    stay_silent,
    leave,
    send_nonsense,
    leave,
    disconnect,
)


def pass_through(port: int, sessions: int) -> int:
    """Have so many sessions of all kinds; how many of them failed."""
    left = iter(range(sessions))

    def some() -> int:
        failed = 0
        for number in left:
            try:
                KINDS[number % len(KINDS)](port)
            except ConnectionResetError:
                failed += KINDS[number % len(KINDS)] is not send_nonsense  # it was aborted, as it should be
            except OSError:
                failed += 1
        return failed

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return sum(done.result() for done in [threads.submit(some) for _thread in range(AT_ONCE)])


def measure(sessions: int) -> list[Figure]:
    with securechat("--robot", "echo", tick="0.01") as server:
        failed = pass_through(server.port, min(WARM, sessions))
        time.sleep(SETTLE)
        before = State.of(server)
        failed += pass_through(server.port, sessions)
        time.sleep(SETTLE)
        after = State.of(server)
    return [
        Figure(f"growth of memory in {sessions:,} sessions, %", after.growth(before) * 100, GROWTH * 100),
        Figure("the daemon in the end, PSS, MiB", after.memory / 1024),
        Figure("additional descriptors", after.descriptors - before.descriptors, 0),
        Figure("sessions that failed", failed, 0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turnover", description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="that are compared (default: 10000)")
    sessions = parser.parse_args().sessions
    prepare_load()
    sys.exit(not report(measure(sessions)))


if __name__ == "__main__":
    main()
