"""Section 8: which record each side may send next, and how records form messages."""

from tests.independent.abort import AbortError
from tests.independent.pack import Value
from tests.independent.records import ABOUT, CANCEL, FAULT, GOODBYE, NEW, PAD, REKEY, REPLY, SAY


class Message:
    """The chunks of one message or reply so far; ``longest`` is its greatest length in bytes, None if it has none."""

    def __init__(self) -> None:
        self.begun = False
        self.longest: int | None = None
        self._chunks = bytearray()

    def add(self, last: Value, chunk: Value) -> str | None:
        """The text, if this was its last chunk."""
        assert isinstance(chunk, bytes)
        self.begun = True
        self._chunks += chunk
        if self.longest is not None and len(self._chunks) > self.longest:
            raise AbortError("message", "too long")
        if not last:
            return None
        try:
            text = self._chunks.decode()
        except UnicodeDecodeError:
            raise AbortError("message", "not UTF-8") from None
        self.drop()
        return text

    def drop(self) -> None:
        self.begun = False
        self._chunks.clear()


class Conversation:
    """The state of the channel. Both peers record in it what they send and what they receive."""

    def __init__(self) -> None:
        self.said = 0  # id of the last complete message
        self.answered = 0  # id of the last message whose reply has ended
        self._introduced = False
        self._left = {"client": False, "server": False}
        self._say = Message()
        self._reply = Message()

    def left(self, side: str) -> bool:
        return self._left[side]

    def record(self, side: str, kind: int, fields: tuple[Value, ...]) -> str | None:
        """Record that ``side`` sends this; return the text if it completes a message."""
        if self._left[side]:
            raise AbortError("order", "after GOODBYE")
        if side == "server" and (kind == ABOUT) == self._introduced:
            raise AbortError("order", "ABOUT comes first, once")
        if kind in (PAD, REKEY):
            return None
        if kind == GOODBYE:
            self._left[side] = True
            return None
        return self._from_client(kind, fields) if side == "client" else self._from_server(kind, fields)

    def _from_client(self, kind: int, fields: tuple[Value, ...]) -> str | None:
        if kind == SAY:
            number, last, chunk = fields
            if number != self.said + 1:
                raise AbortError("order", "not the next id")
            text = self._say.add(last, chunk)
            self.said += last is True
            return text
        if kind == CANCEL:
            (number,) = fields
            if number not in range(1, self.said + 1):
                raise AbortError("order", "not the id of a complete message")
            return None
        if kind == NEW:
            if self._say.begun:
                raise AbortError("order", "NEW within a message")
            return None
        raise AbortError("order", "not a client's record")

    def _from_server(self, kind: int, fields: tuple[Value, ...]) -> str | None:
        if kind == ABOUT:
            _, _, _, max_message, *_ = fields
            assert isinstance(max_message, int)
            self._introduced = True
            self._say.longest = max_message
            return None
        if kind not in (REPLY, FAULT):
            raise AbortError("order", "not a server's record")
        if fields[0] != self.answered + 1 or self.answered == self.said:
            raise AbortError("order", "not the id to answer")
        if kind == FAULT:
            self._reply.drop()
            self.answered += 1
            return None
        text = self._reply.add(*fields[1:])
        self.answered += fields[1] is True
        return text
