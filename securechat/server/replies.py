"""The unsent parts of replies and results."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from securechat.calls.writer import ResultWriter
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.wire.items import Head, Item, Piece

Part = TypeVar("Part", contravariant=True)


class Reply(ABC, Generic[Part]):
    """What is not sent of the answer to one message, and how the answer ends, once that is known."""

    __slots__ = ("fault", "has_ended", "message_id")

    is_refusal = False
    is_result = False

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self.has_ended = False
        self.fault: Fault | None = None

    def end(self, fault: Fault | None = None) -> None:
        """The reply is complete, or ends in a fault; no effect if it has ended already."""
        if not self.has_ended:
            self.has_ended, self.fault = True, fault

    @property
    @abstractmethod
    def size(self) -> int:
        """The approximate number of bytes that wait; exactly 0 if everything was taken."""

    @abstractmethod
    def add(self, part: Part) -> bool:
        """Append something; False if the reply would become too long."""

    @abstractmethod
    def take(self, size: int) -> bytes:
        """The next bytes to be sent, at most `size`."""

    @abstractmethod
    def drop(self) -> None:
        """Forget what waits. Nothing is added after that."""


class Refusal(Reply[None]):
    """A fault alone."""

    __slots__ = ()

    is_refusal = True
    size = 0

    def __init__(self, message_id: int, fault: Fault) -> None:
        super().__init__(message_id)
        self.end(fault)

    def add(self, part: None) -> bool:
        return False

    def take(self, size: int) -> bytes:
        return b""

    def drop(self) -> None:
        pass


class TextReply(Reply[bytes]):
    """The reply to a SAY."""

    __slots__ = ("_max_size", "_room", "_start", "_text")

    def __init__(self, message_id: int, max_size: int) -> None:
        """`max_size` is the number of bytes in the longest reply."""
        super().__init__(message_id)
        self._max_size = max_size
        self._room = max_size  # bytes that the reply may still grow by
        self._text = b""
        self._start = 0  # of the part of the text that is not sent

    @property
    def size(self) -> int:
        return len(self._text) - self._start

    def add(self, part: bytes) -> bool:
        """Append text. If it is too long: what fits, to whole characters, and a notice."""
        fits = len(part) <= self._room
        if not fits:
            notice = _("[the reply exceeds this server's limit of {size} bytes]").format(size=self._max_size)
            part = (part[: self._room].decode(errors="ignore") + f"\n{notice}\n").encode()
        self._room -= len(part)
        self._text = self._text[self._start :] + part
        self._start = 0
        return fits

    def take(self, size: int) -> bytes:
        taken = self._text[self._start : self._start + size]
        self._start += len(taken)
        return taken

    def drop(self) -> None:
        self._text = b""
        self._start = 0


class Result(Reply[Item]):
    """The response to a CALL. Its items are written when they are taken; until then events that wait are joined."""

    __slots__ = ("_head", "_max_size", "_taken", "_writer")

    is_result = True

    def __init__(self, message_id: int, max_size: int) -> None:
        """`max_size` is the number of bytes in the longest result, counted as they are sent."""
        super().__init__(message_id)
        self._max_size = max_size
        self._taken = 0
        self._head: Head | None = None
        self._writer = ResultWriter()

    @property
    def size(self) -> int:
        return self._writer.size

    def add(self, part: Item) -> bool:
        """Append an item, or nothing if it is too long.

        RobotError (broken answer) if it cannot be represented, or if the protocol does not allow it at this point.
        """
        if isinstance(part, Head):
            self._add_head(part)
            return True
        if self._head is None or self._head.is_stream is isinstance(part, Piece):
            raise RobotError(Fault.BROKEN_ANSWER, _("the response has no head, or a body of another type"))
        if self._taken + self._writer.size + len(part.data) > self._max_size:
            return False
        if isinstance(part, Piece):
            self._writer.add_body(part.data)
        else:
            self._writer.add_event(part.name, part.data)
        return True

    def _add_head(self, head: Head) -> None:
        if self._head is not None:
            raise RobotError(Fault.BROKEN_ANSWER, _("the response has two heads"))
        self._writer.add_head(head.status, head.content_type, head.retry_after)
        self._head = head

    def check_complete(self) -> None:
        """RobotError (broken answer) if there was no response."""
        if self._head is None:
            raise RobotError(Fault.BROKEN_ANSWER, _("the response is empty"))

    def take(self, size: int) -> bytes:
        taken = self._writer.take(size)
        self._taken += len(taken)
        return taken

    def drop(self) -> None:
        self._writer = ResultWriter()
