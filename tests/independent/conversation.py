"""Section 8: which record each side may send next, and how records form messages."""

import time
from collections.abc import Callable
from typing import NamedTuple

from tests.independent.abort import AbortError
from tests.independent.host_keys import hint_in
from tests.independent.items import Result, ResultReader
from tests.independent.pack import Value, unpack
from tests.independent.records import (
    ABOUT,
    CALL,
    CANCEL,
    FAULT,
    GOODBYE,
    HOSTKEY,
    NEW,
    PAD,
    RECALL,
    REKEY,
    REPLY,
    RESULT,
    SAY,
)

LONGEST_RECALL = 4096  # turns
RECALLS = 8.0  # in the bucket of a session
REFILL_PERIOD = 60.0  # seconds for one more

Turn = tuple[int, str]  # speaker (0 user, 1 robot) and text


class Call(NamedTuple):
    """The content of a CALL."""

    path: str
    body: bytes


Content = str | Call | Result | list[Turn]  # of a SAY or REPLY, a CALL, a RESULT, a RECALL


def read_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise AbortError("message", "not UTF-8") from None


def read_call(data: bytes) -> Call:
    match unpack(data):
        case (str(path), bytes(body)):
            return Call(path, body)
    raise AbortError("malformed", "CALL")


def read_recall(data: bytes) -> list[Turn]:
    if data[:1] == b"\xdd" or (data[:1] == b"\xdc" and int.from_bytes(data[1:3], "big") > LONGEST_RECALL):
        raise AbortError("malformed", "too many turns")
    turns: list[Turn] = []
    value = unpack(data)
    if not isinstance(value, tuple):
        raise AbortError("malformed", "RECALL")
    for turn in value:
        match turn:
            case (0 | 1 as speaker, str(text)) if not isinstance(speaker, bool):
                turns.append((speaker, text))
            case _:
                raise AbortError("malformed", "a turn")
    return turns


class Message:
    """The chunks of one message, reply or RECALL so far; ``longest`` is its greatest length, None if it has none."""

    def __init__(self) -> None:
        self.kind: int | None = None  # of the record type; None between two
        self.longest: int | None = None
        self._chunks = bytearray()
        self._result = ResultReader()

    def add(self, kind: int, last: Value, chunk: Value) -> Content | None:
        """The content, if this was its last chunk."""
        assert isinstance(chunk, bytes)
        if self.kind not in (None, kind):
            raise AbortError("order", "a chunk of another type")
        self.kind = kind
        self._chunks += chunk
        if self.longest is not None and len(self._chunks) > self.longest:
            raise AbortError("message", "too long")
        if kind == RESULT:
            self._result.add(chunk)
        if not last:
            return None
        data = bytes(self._chunks)
        content = self._result.end() if kind == RESULT else _READERS[kind](data)
        self.drop()
        return content

    def drop(self) -> None:
        self.kind = None
        self._chunks.clear()
        self._result = ResultReader()


_READERS: dict[int, Callable[[bytes], Content]] = {
    SAY: read_text,
    REPLY: read_text,
    CALL: read_call,
    RECALL: read_recall,
}


class Conversation:
    """The state of the channel. Both peers record in it what they send and what they receive."""

    def __init__(self) -> None:
        self.said = 0  # id of the last complete message
        self.answered = 0  # id of the last message whose reply has ended
        self._asked: list[int] = []  # record types of the messages whose reply has not ended
        self._introduced = False
        self.hint = ""  # at the next host key, if the server has announced one
        self._host_keys = 0  # HOSTKEYs so far: a question, then an answer
        self._left = {"client": False, "server": False}
        self._message = Message()  # of the client
        self._reply = Message()
        self._recalled = False  # the next record, other than PAD and REKEY, begins a SAY
        self._recalls = RECALLS
        self._filled = time.monotonic()

    def left(self, side: str) -> bool:
        return self._left[side]

    def record(self, side: str, kind: int, fields: tuple[Value, ...]) -> Content | None:
        """Record that ``side`` sends this; return the content if it completes a message, reply or RECALL."""
        if self._left[side]:
            raise AbortError("order", "after GOODBYE")
        if side == "server" and (kind == ABOUT) == self._introduced:
            raise AbortError("order", "ABOUT comes first, once")
        if kind in (PAD, REKEY):
            return None
        if side == "client" and self._recalled and kind != SAY:
            raise AbortError("order", "a RECALL without its SAY")
        if side == "client" and self._message.kind == RECALL and kind != RECALL:
            raise AbortError("order", "within a RECALL")
        if kind == GOODBYE:
            self._left[side] = True
            return None
        return self._from_client(kind, fields) if side == "client" else self._from_server(kind, fields)

    def _from_client(self, kind: int, fields: tuple[Value, ...]) -> Content | None:
        if kind in (SAY, CALL):
            number, last, chunk = fields
            if number != self.said + 1:
                raise AbortError("order", "not the next id")
            content = self._message.add(kind, last, chunk)
            self._recalled = False
            if last is True:
                self.said += 1
                self._asked.append(kind)
            return content
        if kind == RECALL:
            if self._message.kind is None:
                self._begin_recall()
            turns = self._message.add(kind, *fields)
            self._recalled = fields[0] is True
            return turns
        if kind == CANCEL:
            (number,) = fields
            if number not in range(1, self.said + 1):
                raise AbortError("order", "not the id of a complete message")
            return None
        if kind == HOSTKEY:
            if self._message.kind is not None or not self.hint or self._host_keys:
                raise AbortError("order", "HOSTKEY")
            if fields:
                raise AbortError("malformed", "n is not 0")
            self._host_keys = 1
            return None
        if kind == NEW:
            if self._message.kind is not None:
                raise AbortError("order", "NEW within a message")
            return None
        raise AbortError("order", "not a client's record")

    def _begin_recall(self) -> None:
        if self._asked:
            raise AbortError("order", "RECALL while a reply has not ended")
        now = time.monotonic()
        self._recalls = min(RECALLS, self._recalls + (now - self._filled) / REFILL_PERIOD)
        self._filled = now
        if self._recalls < 1:
            raise AbortError("limit", "too many RECALLs")
        self._recalls -= 1

    def _from_server(self, kind: int, fields: tuple[Value, ...]) -> Content | None:
        if kind == ABOUT:
            _, _, software, max_message, *_ = fields
            assert isinstance(max_message, int)
            assert isinstance(software, str)
            self.hint = hint_in(software)
            self._introduced = True
            self._message.longest = max_message
            return None
        if kind == HOSTKEY:
            if self._host_keys != 1:
                raise AbortError("order", "HOSTKEY")
            if not fields:
                raise AbortError("malformed", "n is 0")
            self._host_keys = 2
            return None
        if kind not in (REPLY, RESULT, FAULT):
            raise AbortError("order", "not a server's record")
        if not self._asked or fields[0] != self.answered + 1:
            raise AbortError("order", "not the id to answer")
        if kind != FAULT and (kind == RESULT) != (self._asked[0] == CALL):
            raise AbortError("order", "REPLY to a CALL, or RESULT of a SAY")
        if kind == FAULT:
            self._reply.drop()
            content = None
        else:
            content = self._reply.add(kind, *fields[1:])
        if kind == FAULT or fields[1] is True:
            self.answered += 1
            del self._asked[0]
        return content
