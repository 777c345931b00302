"""Replies to clients of our own, which ask one question after the other; observed at the client's end."""

import json
import random
import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.loads import SecureChatClient
from securechat.wire.client_connection import ClientConnection
from securechat.wire.events import Event, FaultReceived, ReplyReceived, ResultReceived
from securechat.wire.items import Head
from securechat.wire.shaping import UNIT, is_bucket
from securechat.wire.suites import DEFAULT_SUITE, SUITES
from sidechannel.cells import Cell, Sender
from sidechannel.servers import servers
from sidechannel.traces import Sample, receive, timestamp

QUIET = (3.0, 4.0)  # ticks without a byte, after which a train is over and the next question is asked

TOGETHER = 5  # messages that a client may send at once: as many as the daemon accepts


@dataclass(frozen=True)
class Question:
    """What a client sends at once."""

    label: str
    messages: Sequence[str]


def messages(label: str, number: int) -> list[str]:
    """What a client says to get a reply of this class."""
    match label:
        case "light":
            return ["hello"] * TOGETHER
        case "heavy":  # Eliza looks for its phrases in each message and in all before it
            return ["i " * 125] * TOGETHER
        case "short" | "long":
            return [f"{label} {number}"] * TOGETHER
        case _:
            return [f"{label} {number}"]


def ask(connection: ClientConnection, question: Question, stream: bool | None) -> None:
    """Send a question as messages of a new conversation, or if `stream` is not None, as API requests."""
    if stream is None:
        connection.start_afresh()
        for text in question.messages:
            connection.say(text)
    else:
        for text in question.messages:
            body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}
            connection.call("chat/completions", json.dumps(body).encode())


def is_end(event: Event) -> bool:
    """Whether a reply or a result ends with this event; ConnectionError if it is an error."""
    if isinstance(event, FaultReceived):
        raise ConnectionError(f"a reply ended in {event.fault.name}")
    if isinstance(event, ResultReceived):
        for item in event.items:
            if isinstance(item, Head) and item.status != 200:
                raise ConnectionError(f"a result has status {item.status}")
    return isinstance(event, ReplyReceived | ResultReceived) and event.last


class Session:
    """A client that asks one question after the other and records the pieces of each reply."""

    def __init__(self, port: int, number: int, cell: Cell, questions: Iterator[Question]) -> None:
        suite = SUITES[DEFAULT_SUITE]
        self.client = SecureChatClient(port, suite, suite.generate_key())
        timestamp(self.client.socket)
        self.samples: list[Sample] = []
        self._number = number
        self._tick = cell.tick
        self._stream = cell.contrast.stream
        self._sees_trains = cell.sender in (Sender.SHAPED, Sender.EPOLL)
        self._questions = questions
        self._asked = 0.0  # wall-clock time of the latest question
        self._open = 0  # replies to it that are not complete
        self._go_on_at = 0.0  # on the monotonic clock

    def read(self) -> None:
        """Record a piece. Its content, which an observer cannot see, is used only to find the end of the reply."""
        data, moment = receive(self.client.socket)
        if not data:
            raise ConnectionError("the daemon closed the connection")
        self._wait()
        if self.samples:
            self.samples[-1].pieces.append((moment - self._asked, len(data)))
        for event in self.client.connection.receive_data(data):
            self._open -= is_end(event)

    def _wait(self) -> None:
        self._go_on_at = time.monotonic() + random.uniform(*QUIET) * self._tick

    def go_on(self) -> bool:
        """Ask the next question when the train is over, or the reply if there are no trains; False if there is none."""
        if self._open or (self._sees_trains and self._is_within_train()):
            return True
        question = next(self._questions, None)
        if question is None:
            return False
        self.samples.append(Sample(question.label, self._number))
        ask(self.client.connection, question, self._stream)
        self._open = len(question.messages)
        self._wait()
        data = self.client.connection.data_to_send()
        asked = time.time()
        if not self._sees_trains and len(self.samples) > 1:
            self.samples[-2].next = asked - self._asked
        self._asked = asked
        self.client.socket.sendall(data)
        return True

    def _is_within_train(self) -> bool:
        if self.samples and not is_bucket(self.samples[-1].records):
            return True
        return time.monotonic() < self._go_on_at


def observe(cell: Cell, replies: int, load: int, seed: int) -> list[Sample]:
    """Observe `replies` replies, spread evenly over all sessions. Each session asks equally often for both classes."""
    drawn = random.Random(seed)
    count = cell.daemons * cell.sessions
    each = max(1, replies // count // 2)
    with servers(cell, load, [()] * cell.daemons) as ports:
        running = []
        for number in range(count):
            questions = [
                Question(label, messages(label, number * each + place))
                for label in cell.contrast.classes
                for place in range(each)
            ]
            drawn.shuffle(questions)
            running.append(Session(ports[number % cell.daemons], number, cell, iter(questions)))
            time.sleep(cell.tick * UNIT / count)  # stagger the trains
        return _run(running, cell.tick)


def _run(running: list[Session], tick: float) -> list[Sample]:
    poll = select.poll()
    by_descriptor = {session.client.socket.fileno(): session for session in running}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    samples = []
    while by_descriptor:
        for descriptor, _event in poll.poll(tick * 1000):
            by_descriptor[descriptor].read()
        for descriptor, session in list(by_descriptor.items()):
            if not session.go_on():
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
                session.client.socket.close()
                samples += session.samples
    return samples
