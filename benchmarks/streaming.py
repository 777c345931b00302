"""``make streaming``: many conversations whose replies stream concurrently through a server on one core.

Prints the delay of its ticks and the time of a reply's first word from the model's server to the client. Exits with
status 1 if a word was lost or delivered to another client.
"""

import argparse
import math
import os
import resource
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loads import SecureChatClient, secure_clients
from benchmarks.process import CORES, Server
from securechat.server.settings import ServerSettings
from securechat.wire.suites import DEFAULT_SUITE


@dataclass(frozen=True)
class Streaming:
    """The results; all times in seconds."""

    wrong: int  # replies that lack a word or contain one of another conversation
    lateness: list[float]  # delay of each tick
    waits: list[float]  # time of each reply's first word from the model's server to the client
    seconds: float
    cpu: float  # of the server, per word
    memory: int  # of the server, in KiB


def talk(clients: Sequence[SecureChatClient]) -> tuple[list[str], list[float]]:
    """Every client sends its number, spread over one second; return the replies and the times when they began."""
    poll = select.poll()
    numbers = {client.socket.fileno(): number for number, client in enumerate(clients)}
    for descriptor in numbers:
        poll.register(descriptor, select.POLLIN)
    texts, moments = ["" for _ in clients], [0.0 for _ in clients]
    start, begun = time.monotonic(), 0
    while numbers:
        if begun < len(clients) and time.monotonic() - start > begun / len(clients):
            clients[begun].send(1, str(begun))
            begun += 1
        for descriptor, _event in poll.poll(1):
            number = numbers[descriptor]
            for text, last in clients[number].replies():
                moments[number] = moments[number] or time.monotonic() * (text != "")
                texts[number] += text
                if last:
                    poll.unregister(descriptor)
                    del numbers[descriptor]
    return texts, moments


def measure(conversations: int, words: int, pace: float) -> Streaming:
    """Stream `conversations` replies of `words` words concurrently, each at `pace` words per second."""
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "spoken").open("w+") as spoken:
        late = Path(directory) / "lateness"
        model = Server("openai-peer", str(words), str(pace), core=CORES[-1], errors=spoken)
        ours = Server("securechat-openai", f"http://127.0.0.1:{model.port}", str(late))
        clients = [make() for make in [secure_clients(ours.port, DEFAULT_SUITE)] * conversations]
        before, _memory = ours.report()
        start = time.monotonic()
        texts, heard = talk(clients)
        seconds = time.monotonic() - start
        after, memory = ours.report()
        for client in clients:
            client.socket.close()
        ours.stop()
        model.stop()
        spoken.seek(0)
        spoke = {int(number): float(moment) for number, moment in map(str.split, spoken)}
        lateness = [float(line) for line in late.read_text().split()]
    expected = ("".join(f"{number}.{word} " for word in range(words)) for number in range(conversations))
    return Streaming(
        wrong=sum(text != right for text, right in zip(texts, expected, strict=True)),
        lateness=lateness,
        waits=[moment - spoke[number] for number, moment in enumerate(heard)],
        seconds=seconds,
        cpu=(after - before) / (conversations * words),
        memory=memory,
    )


def quantile(figures: Sequence[float], part: float) -> float:
    """The value that `part` of the figures do not exceed."""
    return sorted(figures)[max(0, math.ceil(part * len(figures)) - 1)]


def spread(figures: Sequence[float], unit: float) -> str:
    """Median, 99th percentile and maximum, in multiples of `unit`."""
    shown = (statistics.median(figures), quantile(figures, 0.99), max(figures))
    return "median {:.2f}, 99 % {:.2f}, max {:.2f}".format(*(figure / unit for figure in shown))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--conversations", type=int, default=300, help="concurrent conversations")
    parser.add_argument("--words", type=int, default=200, help="words per reply")
    parser.add_argument("--pace", type=float, default=20.0, help="words per second of each reply")
    arguments = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {CORES[-1]})
    found = measure(arguments.conversations, arguments.words, arguments.pace)
    total = arguments.conversations * arguments.words
    print(f"{arguments.conversations} replies of {arguments.words} words, {arguments.pace:g} per second each")
    print(f"replies with lost or foreign words: {found.wrong}")
    print(f"delay of {len(found.lateness):,} ticks in ms: {spread(found.lateness, 1e-3)}")
    print(f"time to the first word in ticks: {spread(found.waits, ServerSettings().tick)}")
    print(f"server: {found.cpu * total / found.seconds:.0%} of a core, {found.memory / 1024:.0f} MiB")
    sys.exit(found.wrong > 0)


if __name__ == "__main__":
    main()
