"""``python -m benchmarks.restarts``: a daemon that is stopped, and one that is killed, while it streams 100 replies.

After SIGTERM, every reply has to be whole. After SIGKILL, the daemon is started again as by its systemd unit; all
clients connect again as soon as they can. The exit status is 1 if a reply is incomplete, a client is left out, or the
daemon is not back within two seconds.
"""

import argparse
import os
import re
import select
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.limits import Figure, report
from benchmarks.listeners import Measured, SecureListener
from benchmarks.loads import SecureChatClient, address_of, secure_client
from benchmarks.process import SERVER_CORE, prepare_load
from benchmarks.rows.streams import ROBOT
from benchmarks.servers import NO_LIMITS, end, free_port, limited_securechat, model_server
from tests.harness.daemon import Daemon

CLIENTS: Final = 100
RATE: Final = 20.0  # tokens per second
TOKENS: Final = 100  # of each reply: five seconds
STOP_AFTER: Final = 1.5  # seconds of these, until SIGTERM
LIMIT: Final = 60.0  # seconds for any step
KILLS: Final = 10
MAX_OUTAGE: Final = 2.0  # seconds
RETRY: Final = 0.05  # seconds from one attempt to connect to the next
UNIT: Final = Path(__file__).parents[1] / "deploy" / "systemd" / "securechat.service"


def restart_pause() -> float:
    """The seconds for which systemd waits before it starts the daemon again."""
    found = re.search(r"^RestartSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def read_all(clients: Sequence[Measured]) -> int:
    """Read all replies until the server has ended the sessions; how many of them are whole."""
    poll = select.epoll()
    by_descriptor = {one.listener.socket.fileno(): one for one in clients}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    limit = time.monotonic() + LIMIT
    open_ones = set(by_descriptor)
    while open_ones and time.monotonic() < limit:
        for descriptor, _event in poll.poll(1.0):
            if not by_descriptor[descriptor].read():
                poll.unregister(descriptor)
                open_ones.discard(descriptor)
    poll.close()
    return sum(one.position == TOKENS and not one.text for one in clients)


def stop(clients: int) -> list[Figure]:
    """SIGTERM while replies are in progress."""
    with ExitStack() as stack:
        model = stack.enter_context(model_server(RATE))
        options = (*ROBOT, "-R", f"url=http://127.0.0.1:{model}", "-R", f"max-tokens={TOKENS}", "--tick", "0.1")
        server, daemon = stack.enter_context(limited_securechat(*options, *NO_LIMITS))
        measured = [Measured(number, SecureListener(server.port)) for number in range(clients)]
        for one in measured:
            one.listener.ask(str(one.number))
        time.sleep(STOP_AFTER)
        before = time.monotonic()
        daemon.process.terminate()
        whole = read_all(measured)
        status = daemon.process.wait(LIMIT)
        seconds = time.monotonic() - before
        for one in measured:
            one.listener.socket.close()
    return [
        Figure(f"SIGTERM beside {clients} replies, incomplete ones", clients - whole, 0),
        Figure("SIGTERM, exit status", abs(status), 0),
        Figure("SIGTERM, until the daemon has ended, s", seconds),
    ]


def connect_again(port: int, number: int) -> SecureChatClient:
    """A client that connects as soon as it can."""
    limit = time.monotonic() + LIMIT
    while True:
        try:
            return secure_client(port, address_of(number))
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(RETRY)


def kill_again(clients: int, kills: int) -> list[Figure]:
    """SIGKILL while replies are in progress, and a start as by systemd, several times."""
    back, all_back, pause = [], [], restart_pause()
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory())
        model = stack.enter_context(model_server(RATE))
        port = free_port()
        options = (
            *(*ROBOT, "-R", f"url=http://127.0.0.1:{model}", "--tick", "0.1", *NO_LIMITS),
            *("--listen", f"tcp:{port}:interface=127.0.0.1", "--control", f"{directory}/control"),
        )
        daemon = start(directory, options)
        stack.callback(lambda: end(daemon.process))
        connected = [connect_again(port, number) for number in range(clients)]
        for _kill in range(kills):
            for number, client in enumerate(connected):
                client.send(1, str(number))
            time.sleep(STOP_AFTER)
            before = time.monotonic()
            daemon.process.kill()
            daemon.process.wait()
            for client in connected:
                client.socket.close()
            time.sleep(pause)
            daemon = start(directory, options)
            connected = [connect_again(port, 0)]
            back.append(time.monotonic() - before)
            connected += [connect_again(port, number) for number in range(1, clients)]
            all_back.append(time.monotonic() - before)
        for client in connected:
            client.socket.close()
    return [
        Figure(
            f"SIGKILL beside {clients} replies, {kills} times: until a client is admitted, maximum, s",
            max(back),
            MAX_OUTAGE,
        ),
        Figure("the same, median, s", statistics.median(back)),
        Figure(f"SIGKILL, until all {clients} clients are back, maximum, s", max(all_back)),
        Figure("SIGKILL, pause of systemd in these, s", pause),
    ]


def start(directory: str, options: Sequence[str]) -> Daemon:
    """Start a daemon without waiting for it, on the servers' core."""
    daemon = Daemon(directory, *options)
    os.sched_setaffinity(daemon.process.pid, {SERVER_CORE})
    return daemon


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="with a reply in progress (default: 100)")
    parser.add_argument("--kills", type=int, default=KILLS, help="starts after SIGKILL (default: 10)")
    options = parser.parse_args()
    prepare_load()
    sys.exit(not report([*stop(options.clients), *kill_again(options.clients, options.kills)]))


if __name__ == "__main__":
    main()
