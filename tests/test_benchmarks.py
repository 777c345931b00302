"""benchmarks: turns, figures, the table, and streamed tokens."""

import json
import mmap
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import chosen, measure_all
from benchmarks.calls import first_word, model
from benchmarks.leaks import State
from benchmarks.listeners import HttpListener, Measured, chat_request
from benchmarks.model import BEHIND, Stream
from benchmarks.process import Server, children, cpu_time, memory
from benchmarks.row import Contenders, Figures, Results, Row, measure
from benchmarks.rows.handshakes import COUNT, WARM
from benchmarks.rows.streams import lateness, quantile
from benchmarks.stamps import SIZE, age, belongs, stamp
from benchmarks.table import CLOSE, OPEN, table, write_into
from securechat.server.log_limit import BURST


class RowTests(SynchronousTestCase):
    """One row: all contenders in turn."""

    def setUp(self) -> None:
        self.turns: list[str] = []

    def take_turn(self, name: str) -> Figures:
        self.turns.append(name)
        return {"time, s": float(len(self.turns))}

    @contextmanager
    def start(self, scale: float) -> Iterator[Contenders]:
        yield {
            "securechat": lambda: self.take_turn("securechat"),
            "nginx": "nginx is not installed",
            "TLS": lambda: self.take_turn("TLS"),
        }
        self.turns.append("end")

    @contextmanager
    def start_nothing(self, scale: float) -> Iterator[Contenders]:
        raise ChildProcessError("a server did not start")
        yield {}

    def test_contendersTakeTurns(self) -> None:
        """Contenders are measured in alternating order, the first round does not count, and servers end at last."""
        results = measure(Row("a", "A", self.start), 2, 1.0, lambda line: None)
        self.assertEqual(self.turns, ["securechat", "TLS", "TLS", "securechat", "securechat", "TLS", "end"])
        self.assertEqual(results.figures, {"time, s": {"TLS": [3.0, 6.0], "securechat": [4.0, 5.0]}})
        self.assertEqual(results.reasons, {"nginx": "nginx is not installed"})

    def test_failure(self) -> None:
        """A row that fails is reported, and the rows after it are measured."""
        rows = [Row("bad", "Bad", self.start_nothing), Row("good", "Good", self.start)]
        with redirect_stderr(StringIO()) as errors:
            results, failed = measure_all(rows, 1, 1.0)
        self.assertEqual(failed, ["bad"])
        self.assertEqual([row.title for row in results], ["Good"])
        self.assertIn("a server did not start", errors.getvalue())

    def test_choice(self) -> None:
        """Rows are chosen by the beginning of their names."""
        self.assertEqual(
            [row.name for row in chosen(["stream-300", "idle"])], ["idle", "stream-300-20", "stream-300-100"]
        )
        self.assertEqual(chosen(["no such row"]), [])
        self.assertIn("start-client", [row.name for row in chosen([])])


class HandshakeTests(SynchronousTestCase):
    """Handshakes of the daemon."""

    def test_log(self) -> None:
        """All lines of a turn are below the limit on the log, so that its cost is measured."""
        prefix = "2026-11-25T23:50:48+0000 [securechat.server.protocol.ChatServer#info] "
        line = f"{prefix}client 88 from [127.0.0.1]:43380: admitted as SHA256:{'x' * 43}\n"
        self.assertLess((WARM + COUNT) * len(line), BURST)


class TableTests(SynchronousTestCase):
    """The results as Markdown."""

    results = Results(
        "handshake",
        {
            "CPU, µs": {"TLS": [500.0, 400.0, 410.0], "securechat": [820.0, 1000.0, 800.0]},
            "late, ms": {"securechat": [1.0]},
        },
        {"nginx": "nginx is not installed"},
    )

    def test_table(self) -> None:
        """Each line has medians, minimum and maximum, and the ratio; reasons stand below."""
        lines = table([self.results, self.results]).splitlines()
        self.assertIn("| handshake | CPU, µs | 820 (800 – 1,000) | TLS | 410 (400 – 500) | 2.00 |", lines)
        self.assertIn("| handshake | late, ms | 1.00 (1.00 – 1.00) | | | |", lines)
        self.assertEqual(lines.count("Left out: nginx, because nginx is not installed."), 1)

    def test_page(self) -> None:
        """The table replaces the one in the page, and nothing else."""
        page = Path(self.mktemp())
        page.write_text(f"before\n{OPEN}old\n{CLOSE}after\n")
        write_into(page, "new\n")
        self.assertEqual(page.read_text(), f"before\n{OPEN}\nnew\n\n{CLOSE}after\n")

    def test_pageWithoutMarkers(self) -> None:
        """A page without markers stays as it is."""
        page = Path(self.mktemp())
        page.write_text(OPEN)
        self.assertRaises(ValueError, write_into, page, "new")
        self.assertEqual(page.read_text(), OPEN)

    def test_documentation(self) -> None:
        """docs/performance.md has a place for the table."""
        text = (Path(__file__).parents[1] / "docs" / "performance.md").read_text()
        self.assertIn(CLOSE, text.partition(OPEN)[2])


class FakeListener:
    """A client without encryption."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def ask(self, question: str) -> None:
        pass

    def open(self, data: bytes) -> str:
        return data.decode()


class StreamTests(SynchronousTestCase):
    """Tokens from the model's server to a client."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.near.settimeout(10)

    def test_age(self) -> None:
        """A token says when it was written, to 20 microseconds."""
        before = time.time()
        token = stamp(7, 3)
        after = time.time()
        self.assertTrue(after - before - 1e-4 <= age(token, after) + 4e-5)
        self.assertTrue(age(token, after) <= after - before + 4e-5)

    def test_place(self) -> None:
        """A token belongs to one position of one conversation."""
        self.assertTrue(belongs(stamp(7, 3), 7, 3))
        self.assertFalse(belongs(stamp(7, 3), 7, 4))
        self.assertFalse(belongs(stamp(7, 3), 8, 3))

    def test_model(self) -> None:
        """The model's server streams events with tokens, once the request is complete."""
        self.far.setblocking(False)
        stream = Stream(self.far)
        body = json.dumps({"messages": [{"content": "12"}]}).encode()
        request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self.near.sendall(request[:-1])
        self.assertFalse(stream.read())
        self.near.sendall(request[-1:])
        self.assertTrue(stream.read())
        stream.speak()
        stream.speak()
        head, *chunks = re.split(rb"\r\n\r\n|\r\n(?=[0-9a-f]+\r\n)", self.near.recv(65536).removesuffix(b"\r\n"))
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK"))
        self.assertEqual(len(chunks), 2)
        for position, chunk in enumerate(chunks):
            size, _line, event = chunk.partition(b"\r\n")
            self.assertEqual(int(size, 16), len(event))
            token = json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
            self.assertTrue(belongs(token, 12, position))

    def test_slowReader(self) -> None:
        """The model's server keeps little for a reader that is behind, and tears no event."""
        self.far.setblocking(False)
        stream = Stream(self.far)
        while len(stream.unsent) < BEHIND:
            stream.speak()
        tokens = stream.tokens
        stream.speak()
        self.assertEqual(stream.tokens, tokens)
        self.near.recv(1 << 24)
        stream.speak()
        self.assertLess(len(stream.unsent), BEHIND)

    def test_end(self) -> None:
        """A reply with a maximum length ends after it, and the next one on the connection begins anew."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            listener = HttpListener(server.getsockname()[1])
            self.addCleanup(listener.socket.close)
            stream = Stream(server.accept()[0])
        self.addCleanup(stream.socket.close)
        for _reply in range(2):
            listener.ask("12", max_tokens=3)
            self.assertTrue(stream.read())
            self.assertFalse(stream.has_ended)
            for _token in range(4):
                stream.speak()
            self.assertTrue(stream.has_ended)
            text = ""
            while not listener.is_complete:
                text += listener.open(listener.socket.recv(65536))
            tokens = [text[start : start + SIZE] for start in range(0, len(text), SIZE)]
            self.assertEqual([belongs(token, 12, place) for place, token in enumerate(tokens)], [True] * 3)

    def test_request(self) -> None:
        """The model's server in this process sees when a request is complete, and when it is abandoned."""
        with model() as models:
            tool = HttpListener(models.port)
            data = chat_request("#1")
            tool.socket.sendall(data[:-1])
            before = time.time()
            tool.socket.sendall(data[-1:])
            request = models.next()
            self.assertIn(b'"#1"', request.body)
            self.assertLess(abs(request.moment - before), 1)
            request.say()
            self.assertLess(abs(first_word(tool) - request.written), 1)
            tool.socket.close()
            self.assertGreaterEqual(request.wait_for_close(), request.written)
            request.socket.close()

    def test_refusal(self) -> None:
        """A response with another status than 200 is an error."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            listener = HttpListener(server.getsockname()[1])
            self.addCleanup(listener.socket.close)
        self.assertRaises(ConnectionError, listener.open, b"HTTP/1.1 503 x\r\n")

    def test_closedReader(self) -> None:
        """A client that leaves ends its stream."""
        self.near.close()
        stream = Stream(self.far)
        stream.speak()
        self.assertFalse(stream.read())
        self.assertTrue(stream.closed)

    def test_measured(self) -> None:
        """A client notes the age of each token in the window, wherever the pieces are cut."""
        one = Measured(5, FakeListener(self.near))
        self.far.sendall((stamp(5, 0) + stamp(5, 1)[:2]).encode())
        self.assertEqual(one.read(), 7)
        self.assertEqual((one.position, len(one.ages), one.early), (1, 1, 0))
        one.begin_window()
        one.text = ""
        self.far.sendall(stamp(5, 1).encode())
        one.read()
        self.assertEqual((one.position, len(one.ages), one.received), (2, 1, 12))
        self.assertEqual([received for _moment, received in one.arrivals], [7, 12])
        self.assertEqual(one.early, 1)

    def test_lostToken(self) -> None:
        """A token that is lost or belongs to another conversation is an error."""
        for token in (stamp(5, 1), stamp(6, 0)):
            self.far.sendall(token.encode())
            self.assertRaises(ConnectionError, Measured(5, FakeListener(self.near)).read)

    def test_lateness(self) -> None:
        """A record's lateness is relative to the most punctual one of its train, even if it is more than a tick."""
        late = lateness([(10.02, 4), (10.1, 5), (10.33, 6), (10.33, 7)], 0.1)
        self.assertEqual([round(each, 6) for each in late], [0.02, 0, 0.13, 0.03])

    def test_quantile(self) -> None:
        """The 99th percentile of a hundred figures is the second largest."""
        self.assertEqual(quantile(range(100), 0.99), 98)


class ProcessTests(SynchronousTestCase):
    """CPU time and memory of processes."""

    if not sys.platform.startswith("linux"):
        skip = "needs Linux's /proc"

    def test_cpuTime(self) -> None:
        """The CPU time of a process is that of its clock."""
        before = time.process_time()
        measured = cpu_time(os.getpid())
        self.assertTrue(before <= measured <= time.process_time())

    def test_memory(self) -> None:
        """Memory is counted in KiB."""
        before = memory(os.getpid())
        with mmap.mmap(-1, 32 << 20) as held:
            held.write(b"x" * len(held))
            self.assertGreater(Server(os.getpid(), 0).memory() - before, 30 << 10)

    def test_endedChild(self) -> None:
        """The memory of a child process that has ended, but wasn't waited for, counts nothing."""
        with subprocess.Popen(["true"]) as child:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            self.assertIn(child.pid, children(os.getpid()))
            self.assertGreater(Server(os.getpid(), 0).memory(), 0)

    def test_descriptors(self) -> None:
        """A socket is a descriptor, too."""
        before = State.of(Server(os.getpid(), 0))
        with socket.socket(), open(os.devnull):
            after = State.of(Server(os.getpid(), 0))
        self.assertEqual((after.descriptors, after.sockets), (before.descriptors + 2, before.sockets + 1))


class LeakTests(SynchronousTestCase):
    """What counts as left behind."""

    before = State(40_000, 30, 20)

    def test_leaks(self) -> None:
        """Five percent of memory, or one descriptor or session."""
        for after, has_leaked in (
            (State(41_900, 30, 20), False),
            (State(30_000, 28, 18), False),
            (State(42_000, 30, 20), True),
            (State(40_000, 31, 20), True),
            (State(40_000, 30, 21), True),
        ):
            self.assertIs(after.has_leaked(self.before), has_leaked, after)
