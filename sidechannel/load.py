"""``python -m sidechannel.load PORT CONVERSATIONS TICK QUESTION``: conversations beside those that are observed.

Each asks its question again whenever a train has ended. It prints a line when all are connected, and runs until it is
terminated. Records are not opened, because only the daemon's work matters.
"""

import random
import select
import sys
import time

from benchmarks.loads import secure_clients
from securechat.wire.suites import DEFAULT_SUITE

SILENCE = 3  # ticks without a record, after which a train has ended


def converse(port: int, conversations: int, tick: float, question: str) -> None:
    """Never returns."""
    make = secure_clients(port, DEFAULT_SUITE)
    clients = {client.socket.fileno(): client for client in (make() for _ in range(conversations))}
    print("connected", flush=True)
    poll = select.poll()
    for descriptor in clients:
        poll.register(descriptor, select.POLLIN)
    now = time.monotonic()
    due = {descriptor: now + random.uniform(0, 50 * tick) for descriptor in clients}  # when to ask, if all is silent
    scan = now
    while True:
        for descriptor, _event in poll.poll(tick * 1000):
            if not clients[descriptor].socket.recv(64 * 1024):
                raise ConnectionError("the daemon closed the connection")
            due[descriptor] = time.monotonic() + SILENCE * tick
        now = time.monotonic()
        if now < scan:
            continue
        scan = now + tick
        for descriptor, moment in due.items():
            if moment <= now:
                clients[descriptor].send(1, question)
                due[descriptor] = now + 10 * SILENCE * tick


if __name__ == "__main__":
    converse(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
