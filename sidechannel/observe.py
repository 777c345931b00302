"""What an observer of the network sees of replies: when bytes arrive from a real daemon, and how many."""

import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.loads import SecureChatClient
from securechat.wire.events import FaultReceived, ReplyReceived
from securechat.wire.shaping import UNIT, Shaping
from securechat.wire.suites import DEFAULT_SUITE, SUITES
from sidechannel.model import TICK, TOPICS
from tests.harness.daemon import START_TIMEOUT, Daemon

QUIET = 15 * TICK  # seconds without a byte after which a train is over
RECORD = SUITES[DEFAULT_SUITE].record_size + 4  # bytes on the wire


@dataclass
class Sample:
    """One observed reply: seconds since the question and number of bytes of each piece."""

    topic: str
    session: int
    pieces: list[tuple[float, int]] = field(default_factory=list)

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(size for _moment, size in self.pieces) // RECORD


class Session:
    """A client that asks one question after the other and records the pieces of each reply."""

    def __init__(self, port: int, number: int, questions: Iterator[tuple[str, int]]) -> None:
        suite = SUITES[DEFAULT_SUITE]
        self.client = SecureChatClient(port, suite, suite.generate_key())
        self.samples: list[Sample] = []
        self._number = number
        self._questions = questions
        self._asked = 0.0
        self._is_answered = True
        self._last = time.monotonic()  # time of the latest piece

    def read(self) -> None:
        """Record a piece. Its content, which an observer cannot see, is used only to find the end of the reply."""
        data = self.client.socket.recv(256 * 1024)
        if not data:
            raise ConnectionError("the daemon closed the connection")
        self._last = time.monotonic()
        if self.samples:
            self.samples[-1].pieces.append((self._last - self._asked, len(data)))
        for event in self.client.connection.receive_data(data):
            if isinstance(event, FaultReceived):
                raise ConnectionError(f"a reply ended in {event.fault.name}")
            self._is_answered |= isinstance(event, ReplyReceived) and event.last

    def go_on(self) -> bool:
        """Ask the next question after QUIET seconds without data; return False if there is none."""
        if not self._is_answered or time.monotonic() - self._last < QUIET:
            return True
        question = next(self._questions, None)
        if question is None:
            return False
        topic, number = question
        self.samples.append(Sample(topic, self._number))
        self._is_answered = False
        self._asked = self._last = time.monotonic()
        self.client.send(1, f"{topic} {number:06}")
        return True


@contextmanager
def daemon(shaping: Shaping) -> Iterator[int]:
    """Run `twistd securechat` in front of the fake model server; yields its port."""
    model = subprocess.Popen([sys.executable, "-m", "sidechannel.model"], stdout=subprocess.PIPE, text=True)
    assert model.stdout is not None
    url = f"url=http://127.0.0.1:{int(model.stdout.readline())}"
    ours = Daemon(
        tempfile.mkdtemp(),
        *("--shaping", shaping.value, "--tick", str(TICK), "--max-sessions-per-source", "1000"),
        *("--handshake-burst", "1000", "--max-handshakes-per-source", "1000", "--message-burst", "1000000"),
        *("--robot", "openai", "-R", url, "-R", "model=m", "-R", "max-concurrent=1000"),
    )
    try:
        end = time.monotonic() + START_TIMEOUT
        while "host key SHA256:" not in ours.text():
            if time.monotonic() > end:
                raise TimeoutError(ours.text())
            time.sleep(0.05)
        yield ours.port
    finally:
        for process in (ours.process, model):
            process.terminate()
            process.wait()


def observe(shaping: Shaping, replies: int, sessions: int, seed: int, tell: Callable[[str], None]) -> list[Sample]:
    """Observe `replies` replies, spread evenly over sessions. Each session asks equally often about both topics."""
    drawn = random.Random(seed)
    each = replies // sessions // len(TOPICS)
    with daemon(shaping) as port:
        running = []
        for number in range(sessions):
            questions = [(topic, number * each + count) for topic in TOPICS for count in range(each)]
            drawn.shuffle(questions)
            running.append(Session(port, number, iter(questions)))
            time.sleep(TICK * UNIT / sessions)  # stagger the trains
        done = _run(running)
    tell(f"{shaping.value}: {len(done)} replies observed")
    return done


def _run(running: list[Session]) -> list[Sample]:
    poll = select.poll()
    by_descriptor = {session.client.socket.fileno(): session for session in running}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    samples = []
    while by_descriptor:
        for descriptor, _event in poll.poll(TICK * 1000):
            by_descriptor[descriptor].read()
        for descriptor, session in list(by_descriptor.items()):
            if not session.go_on():
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
                session.client.socket.close()
                samples += session.samples
    return samples
