"""``python -m benchmarks.sessions``: the memory of 10,000 sessions in one daemon.

Each session has an address of its own. They are measured before they have sent anything, after a message of five
characters, and with histories that are full. What the kernel keeps for sockets is not counted. The exit status is 1 if
a session takes more than its limit.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from benchmarks.limits import Figure, report
from benchmarks.loads import SecureChatClient, address_of, secure_client, talk
from benchmarks.process import Server, prepare_load
from benchmarks.servers import securechat
from securechat.conversation import Speaker, Turn
from securechat.server.settings import ServerSettings

SESSIONS: Final = 10_000
SPARE_FILES: Final = 100  # that are open in a process beside its sessions
WARM: Final = 100  # sessions before the measurement
FULL: Final = 1000  # of the sessions get a full history
AT_ONCE: Final = 200  # that talk at the same time
MAX_IDLE: Final = 10.0  # KiB of a session that has never sent a message
HISTORY: Final = ServerSettings().history_bytes
MAX_FULL: Final = 1.25 * HISTORY / 1024  # KiB that a full history adds; an allocator has some waste
TURNS: Final = ServerSettings().history_turns


def say_all(clients: Sequence[SecureChatClient], text: str) -> None:
    """All clients say a text, some of them at once, and wait for the replies."""
    for start in range(0, len(clients), AT_ONCE):
        talk(clients[start : start + AT_ONCE], 1, text)


def fill_history(client: SecureChatClient) -> None:
    """Have the server remember as much as it does for a session."""
    turns = [Turn(Speaker.USER, "x" * (HISTORY // TURNS)) for _turn in range(TURNS)]
    client.connection.say("hello", turns)
    client.send(0, "")
    while not client.receive():
        pass


def grown(server: Server, before: int, sessions: int) -> float:
    """How much memory has been added to what was there before, in KiB per session."""
    return (server.memory() - before) / sessions


def measure(sessions: int) -> list[Figure]:
    full = min(FULL, sessions)
    with securechat("--robot", "echo", tick="0.01") as server:
        warm = [secure_client(server.port, address_of(number)) for number in range(WARM)]
        say_all(warm, "hello")
        before = server.memory()
        clients = [secure_client(server.port, address_of(WARM + number)) for number in range(sessions)]
        idle = grown(server, before, sessions)
        say_all(clients, "hello")
        spoken = grown(server, before, sessions)
        before = server.memory()
        for client in clients[:full]:
            fill_history(client)
        history = grown(server, before, full)
        total = server.memory()
        for client in warm + clients:
            client.socket.close()
    return [
        Figure(f"{sessions:,} sessions that have sent nothing, PSS of each, KiB", idle, MAX_IDLE),
        Figure(f"{sessions:,} sessions after a short message, PSS of each, KiB", spoken),
        Figure(f"a full history of {HISTORY // 1024} KiB, in addition, KiB", history, MAX_FULL),
        Figure("the daemon in the end, PSS, MiB", total / 1024),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="open at once (default: 10000)")
    sessions = parser.parse_args().sessions
    possible = prepare_load() - WARM - SPARE_FILES
    if sessions > possible:
        print(f"the hard limit on open files (RLIMIT_NOFILE) allows {possible:,} sessions", file=sys.stderr)
        sessions = possible
    sys.exit(not report(measure(sessions)))


if __name__ == "__main__":
    main()
