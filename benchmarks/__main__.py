"""``make bench``: one table, with all rows measured in the same run.

Each server runs in a process of its own that is pinned to one core; the clients run on the other. A figure is the
server's own CPU time per unit, in microseconds, the median of several rounds, with minimum and maximum. Machines are
noisy, so the rounds of all servers are interleaved, and ratios are to Twisted's TLS 1.3 in the same run.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import streaming
from benchmarks.loads import Client, TcpClient, TlsClient, handshakes, secure_clients, talk
from benchmarks.process import CORES, Server
from securechat.server.settings import ServerSettings
from securechat.ssh.keys import SigningKey
from securechat.wire.suites import MLKEM768X25519, RSA2048Fernet
from tests.harness.turing_peer import PATH

PQ, RSA = MLKEM768X25519.name, RSA2048Fernet.name
BASELINE = "Twisted TLS 1.3"


@dataclass
class Row:
    """One load on one server. `run` returns the figure for one unit."""

    load: str
    server: str
    run: Callable[[], float]
    figures: list[float] = field(default_factory=list)


def cpu_of(server: Server, units: int, load: Callable[[], None]) -> float:
    """The server's CPU time per unit of a load, in microseconds."""
    before, _memory = server.report()
    load()
    after, _memory = server.report()
    return (after - before) / units * 1e6


def memory_of(server: Server, make: Callable[[], Client], count: int) -> float:
    """Growth of the server's memory per idle session, in KiB, measured with `count` sessions."""
    warm = [make() for _ in range(50)]
    _cpu, before = server.report()
    idle = [make() for _ in range(count)]
    _cpu, after = server.report()
    for client in warm + idle:
        client.socket.close()
    return (after - before) / count


def turing_messages_a_second(count: int) -> float:
    """Messages per second through the Turing robot to a service on this machine and back, 16 at a time."""
    peer = Server("turing-peer", core=CORES[-1])
    ours = Server("securechat-turing", f"http://127.0.0.1:{peer.port}{PATH}")
    clients: list[Client] = [make() for make in [secure_clients(ours.port, PQ)] * 16]
    talk(clients, 5, "hello")
    start = time.perf_counter()
    talk(clients, count // 16, "hello")
    seconds = time.perf_counter() - start
    ours.stop()
    peer.stop()
    return count / seconds


def paced_record(sessions: int, seconds: float) -> float:
    """CPU time per paced record with this many sessions, in microseconds: timer, one seal and one write."""
    server = Server("securechat-constant")
    clients = [make() for make in [secure_clients(server.port, PQ)] * sessions]
    records = int(sessions * seconds / ServerSettings().tick)
    figure = cpu_of(server, records, lambda: time.sleep(seconds))
    for client in clients:
        client.socket.close()
    server.stop()
    return figure


def rows(scale: float) -> tuple[list[Row], list[Server]]:
    """All loads on all servers; `scale` multiplies their length."""
    ours, tls, tcp = Server("securechat"), Server("twisted-tls"), Server("twisted-tcp")
    servers = [ours, tls, tcp]
    user_key = SigningKey.generate()
    make_ours = secure_clients(ours.port, PQ)
    kinds: dict[str, tuple[Server, Callable[[], Client]]] = {
        "securechat PQ": (ours, make_ours),
        BASELINE: (tls, lambda: TlsClient(tls.port)),
    }
    try:
        uvloop = Server("uvloop-tls")
        servers.append(uvloop)
        kinds["uvloop TLS 1.3"] = (uvloop, lambda: TlsClient(uvloop.port))
    except ValueError:
        print("skipping uvloop, which is not installed", file=sys.stderr)
    handshakers: dict[str, tuple[Server, Callable[[], Client | TcpClient]]] = {
        **kinds,
        "securechat PQ, user key": (ours, secure_clients(ours.port, PQ, user_key)),
        "securechat RSA": (ours, secure_clients(ours.port, RSA)),
        "TCP accept": (tcp, lambda: TcpClient(tcp.port)),
    }
    table = []
    for at_once in (1, 16):
        for name, (server, make) in handshakers.items():
            count = int(240 * scale)
            table.append(
                Row(
                    f"handshake, {at_once} at a time",
                    name,
                    lambda s=server, m=make, c=count, a=at_once: cpu_of(s, c, lambda: handshakes(m, c, a)),  # type: ignore[misc]
                )
            )
    connections, rounds = 50, int(60 * scale)
    for size, label in ((64, "64 B"), (1024, "1 KiB")):
        for name, (server, make) in kinds.items():

            def run(server: Server = server, make: Callable[[], Client] = make, size: int = size) -> float:
                clients = [make() for _ in range(connections)]
                talk(clients, 2, "x" * size)
                figure = cpu_of(server, connections * rounds, lambda: talk(clients, rounds, "x" * size))
                for client in clients:
                    client.socket.close()
                return figure

            table.append(Row(f"{label} ping-pong, {connections} connections", name, run))
    return table, servers


def measure(rounds: int, scale: float) -> list[Row]:
    """Run every row `rounds` times, interleaved; then measure the memory of idle sessions in separate servers."""
    table, servers = rows(scale)
    for row in table:  # warm-up: caches, imports, certificates
        row.run()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for row in table[number % 2 :: 2] + table[(number + 1) % 2 :: 2]:
            row.figures.append(row.run())
    for server in servers:
        server.stop()
    kinds = {"securechat PQ": "securechat", BASELINE: "twisted-tls", "uvloop TLS 1.3": "uvloop-tls"}
    present = {row.server for row in table}
    for name, kind in kinds.items():
        if name not in present:
            continue
        row = Row("KiB per idle session", name, float)
        for _ in range(rounds):
            server = Server(kind)
            make = secure_clients(server.port, PQ) if kind == "securechat" else partial(TlsClient, server.port)
            row.figures.append(memory_of(server, make, int(400 * scale)))
            server.stop()
        table.append(row)
    paced = Row("paced record, 200 sessions", "securechat PQ", float)
    paced.figures = [paced_record(200, 3 * scale) for _ in range(rounds)]
    table.append(paced)
    streams = [streaming.measure(300, int(100 * scale), 20.0) for _ in range(rounds)]
    word = Row("streamed word, 300 sessions", "securechat PQ", float)
    word.figures = [stream.cpu * 1e6 for stream in streams]
    late = Row("delay of a tick in ms, 99 %, 300 sessions", "securechat PQ", float)
    late.figures = [streaming.quantile(stream.lateness, 0.99) * 1e3 for stream in streams]
    table += [word, late]
    turing = Row("messages per second, Turing robot", "securechat PQ", float)
    turing.figures = [turing_messages_a_second(int(1600 * scale)) for _ in range(rounds)]
    table.append(turing)
    return table


def show(table: list[Row]) -> str:
    """The table as Markdown."""
    lines = ["| load | server | median | min – max | vs. Twisted TLS 1.3 |", "|---|---|---:|---:|---:|"]
    baselines = {row.load: statistics.median(row.figures) for row in table if row.server == BASELINE}
    for row in sorted(table, key=lambda row: row.load):
        median = statistics.median(row.figures)
        ratio = f"{median / baselines[row.load]:.2f}" if row.load in baselines else ""
        lines.append(
            f"| {row.load} | {row.server} | {median:.1f} | {min(row.figures):.1f} – {max(row.figures):.1f} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per row")
    parser.add_argument("--scale", type=float, default=1.0, help="length of a round, as a factor")
    parser.add_argument("--json", type=Path, help="write the figures to this file, for the plot")
    arguments = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {CORES[-1]})
    table = measure(arguments.rounds, arguments.scale)
    print(show(table))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps([[row.load, row.server, row.figures] for row in table], indent=1) + "\n")


if __name__ == "__main__":
    main()
