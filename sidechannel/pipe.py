"""Replies to the real client, which takes its messages from a pipe and sends each when it chooses to.

A relay between client and daemon records when bytes pass, in both directions.
"""

import random
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

from sidechannel.cells import Cell
from sidechannel.observe import TOGETHER, messages
from sidechannel.servers import servers
from sidechannel.traces import RECORD, Sample, receive, timestamp
from tests.harness.daemon import ENVIRON


class Tap:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.other = {client: server, server: client}
        self._client = client
        self._sent: list[tuple[float, int]] = []
        self._received: list[tuple[float, int]] = []
        self._handshake = 0  # bytes of the client's Hello and PROOF

    def pass_on(self, end: socket.socket) -> bool:
        """Pass on what one end has sent; False if it has closed the connection."""
        try:
            data, moment = receive(end)
        except ConnectionError:
            return False
        if not data:
            return False
        if end is self._client:
            self._handshake = self._handshake or 4 + int.from_bytes(data[:4], "big") + RECORD
            self._sent.append((moment, len(data)))
        else:
            self._received.append((moment, len(data)))
        with suppress(ConnectionError):  # closed at the other end, as the next read will show
            self.other[end].sendall(data)
        return True

    def samples(self, labels: Sequence[str], session: int) -> list[Sample]:
        """A sample for each label. The client's last record, GOODBYE, ends the last one."""
        records: list[float] = []  # of the client, after the handshake
        passed = -self._handshake
        for moment, size in self._sent:
            passed += size
            records += [moment] * (passed // RECORD - len(records))
        begins = records[::TOGETHER]
        if len(records) != len(labels) * TOGETHER + 1:
            raise ConnectionError(f"{len(records)} records from the client")
        return [
            Sample(
                label,
                session,
                [(moment - begin, size) for moment, size in self._received if begin < moment <= end],
                end - begin,
            )
            for label, (begin, end) in zip(labels, pairwise(begins), strict=True)
        ]


def observe_pipes(cell: Cell, replies: int, load: int, seed: int) -> list[Sample]:
    """Observe `replies` times TOGETHER replies to the real client, in as many samples."""
    drawn = random.Random(seed)
    count = cell.daemons * cell.sessions
    each = max(1, replies // count // 2)
    labels = [drawn.sample(cell.contrast.classes, counts=[each, each], k=2 * each) for _ in range(count)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        options: list[list[str]] = [[] for _ in range(cell.daemons)]
        for number, door in enumerate(doors):
            options[number % cell.daemons] += ("--name", f"[127.0.0.1]:{door.getsockname()[1]}")
        ports = stack.enter_context(servers(cell, load, options))
        clients = [_client(directory / str(number), door, labels[number]) for number, door in enumerate(doors)]
        taps = _relay({door: ports[number % cell.daemons] for number, door in enumerate(doors)})
        for client in clients:
            if client.wait():
                raise ChildProcessError(f"a client ended with status {client.returncode}")
        return [sample for number, door in enumerate(doors) for sample in taps[door].samples(labels[number], number)]


def _client(directory: Path, door: socket.socket, labels: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a client that asks for replies of these classes."""
    directory.mkdir()
    lines = directory / "lines"
    asked = [text for number, label in enumerate(labels) for text in messages(label, number)]
    lines.write_text("".join(f"{text}\n" for text in asked))
    options = ("--accept-new", "--known-hosts", str(directory / "known_hosts"), "--lines", "--wait")
    with lines.open() as file:
        return subprocess.Popen(
            [sys.executable, "-m", "securechat.client", f"127.0.0.1:{door.getsockname()[1]}", *options],
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRON,
        )


def _relay(ports: Mapping[socket.socket, int]) -> dict[socket.socket, Tap]:
    """Relay one connection from each listening socket to the port beside it, until all are closed."""
    taps: dict[socket.socket, Tap] = {}
    doors = {door.fileno(): door for door in ports}
    ends: dict[int, tuple[Tap, socket.socket]] = {}
    poll = select.poll()
    for descriptor in doors:
        poll.register(descriptor, select.POLLIN)
    while doors or ends:
        for descriptor, _event in poll.poll():
            if descriptor in doors:
                door = doors.pop(descriptor)
                poll.unregister(descriptor)
                client, _address = door.accept()
                tap = taps[door] = Tap(client, socket.create_connection(("127.0.0.1", ports[door])))
                for end in tap.other:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    timestamp(end)
                    ends[end.fileno()] = (tap, end)
                    poll.register(end, select.POLLIN)
            elif descriptor in ends:
                tap, end = ends[descriptor]
                if not tap.pass_on(end):
                    for closed in tap.other:
                        poll.unregister(closed)
                        del ends[closed.fileno()]
                        closed.close()
    return taps
