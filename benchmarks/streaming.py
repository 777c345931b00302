"""``make streaming``: many conversations whose replies stream at once, through a server on one core.

Prints how late its ticks were, how long a reply's first word took from the model's server to the client, and fails
if a word was lost or came to somebody else.
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
from pathlib import Path

from benchmarks.__main__ import CORES, PQ, Server
from benchmarks.loads import SecureChatClient, secure_clients
from securechat.shaping import DEFAULT_TICK


def spread(figures: Sequence[float], digits: int) -> str:
    """Median, the figure that 99 % are at most, and the most."""
    ordered = sorted(figures)
    last = ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]
    return f"median {statistics.median(ordered):.{digits}f}, 99 % {last:.{digits}f}, most {ordered[-1]:.{digits}f}"


def talk(clients: Sequence[SecureChatClient]) -> tuple[list[str], list[float]]:
    """All say their number, one after the other within a second: each one's whole reply, and when it began."""
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--conversations", type=int, default=300)
    parser.add_argument("--words", type=int, default=200, help="of each reply")
    parser.add_argument("--pace", type=float, default=20.0, help="words a second of each reply")
    arguments = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {CORES[-1]})
    directory = Path(tempfile.mkdtemp())
    with (directory / "spoken").open("w+") as spoken:
        model = Server("openai-peer", str(arguments.words), str(arguments.pace), core=CORES[-1], errors=spoken)
        ours = Server("securechat-openai", f"http://127.0.0.1:{model.port}", str(directory / "lateness"))
        clients = [make() for make in [secure_clients(ours.port, PQ)] * arguments.conversations]
        before, _memory = ours.report()
        start = time.monotonic()
        texts, heard = talk(clients)
        seconds = time.monotonic() - start
        used, memory = ours.report()
        ours.stop()
        model.stop()
        spoken.seek(0)
        first = dict(line.split() for line in spoken)
    expected = ["".join(f"{number}.{word} " for word in range(arguments.words)) for number in range(len(clients))]
    waits = [moment - float(first[str(number)]) for number, moment in enumerate(heard)]
    lateness = [float(line) for line in (directory / "lateness").read_text().split()]
    wrong = sum(text != right for text, right in zip(texts, expected, strict=True))
    print(f"{len(clients)} replies of {arguments.words} words at {arguments.pace:g} a second, in {seconds:.1f} s")
    print(f"lost or mixed: {wrong}")
    print(f"a tick is late by, in ms: {spread([late * 1e3 for late in lateness], 1)}, of {len(lateness):,}")
    print(f"a first word takes, in ticks: {spread([wait / DEFAULT_TICK for wait in waits], 2)}")
    print(f"the server's core: {(used - before) / seconds:.0%}; its memory: {memory / 1024:.0f} MiB")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
