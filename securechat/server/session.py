"""From the inbox to the robot and into the outbox: one message after another, each answered before the next."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.errors import robot_error
from securechat.robots.interface import IRobot
from securechat.server.history import History
from securechat.server.outbox import Outbox
from securechat.wire.events import MessageReceived, NewReceived
from securechat.wire.messages import MAX_MESSAGE

log = Logger()

MAX_WAITING: Final = 4  # messages behind the one being answered


class Session:
    """One session's conversation with the robot.

    `added` is called when there is something new in the outbox, `taken` when there may be room in the inbox. Only from
    within `taken` may more be asked or cancelled.
    """

    def __init__(
        self,
        robot: IRobot,
        user_id: str,
        history: History,
        outbox: Outbox,
        added: Callable[[], None],
        taken: Callable[[], None],
    ) -> None:
        """`user_id` is what the robot calls the user."""
        self._robot = robot
        self._user_id = user_id
        self._history = history
        self._outbox = outbox
        self._added = added
        self._taken = taken
        self._inbox: list[MessageReceived | NewReceived] = []
        self._stopped = False
        self._current_id = 0
        self._starting = False  # a reply is being begun, and may be whole before it is waited for
        self._reply: Deferred[None] | None = None  # being asked for
        self._cancelled: set[int] = set()  # waiting messages that need no reply any more
        self._paused = False
        self._room: Deferred[None] | None = None  # there while the reply waits to go on

    @property
    def is_full(self) -> bool:
        """Whether the client should not be read for now."""
        return len(self._inbox) >= MAX_WAITING

    @property
    def is_busy(self) -> bool:
        """Whether there is a message whose reply is not complete."""
        return self._reply is not None or bool(self._inbox)

    def ask(self, said: MessageReceived | NewReceived) -> None:
        """Answer a message, or start the conversation afresh, when all before has been dealt with."""
        if self._stopped:
            return
        self._inbox.append(said)
        if self._reply is None:
            self._answer_next()

    def cancel(self, message_id: int) -> None:
        """Stop the reply to a message, now or when its turn comes; too late is no error."""
        self._outbox.cancel(message_id)
        if message_id == self._current_id and self._reply is not None:
            self._reply.cancel()
        elif message_id > self._current_id:
            self._cancelled.add(message_id)

    def pause(self) -> None:
        """Take no more text from the robot."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self.go_on()

    def go_on(self) -> None:
        """Take more text from the robot, or the next message, if it was only for want of room that they waited."""
        if self._must_wait():
            return
        if self._room is not None:
            self._room.callback(None)
        elif self._inbox and self._reply is None and not self._starting:
            self._answer_next()

    def stop(self) -> None:
        """Stop the robot and forget what was asked; the replies end as they are."""
        self._stopped = True
        self._inbox.clear()
        if self._reply is not None:
            self._reply.cancel()
        else:
            self._taken()

    def _must_wait(self) -> bool:
        return self._paused or self._outbox.is_full

    def _answer_next(self, _result: None = None) -> None:
        """Deal with what waits, until a reply takes its time, or there is no room for another."""
        self._reply = None
        self._starting = True
        while self._inbox and not self._must_wait():
            said = self._inbox.pop(0)
            if isinstance(said, NewReceived):
                self._history.clear()
                continue
            reply = Deferred.fromCoroutine(self._answer(said))
            if not reply.called:
                self._reply = reply
                reply.addCallback(self._answer_next)
                break
        self._starting = False
        self._taken()

    async def _answer(self, message: MessageReceived) -> None:
        """Put a whole reply into the outbox, or the fault that ended it. Raises nothing."""
        self._current_id = message.id
        self._outbox.begin(message.id)
        fault: Fault | None = None
        try:
            if message.id in self._cancelled:
                self._cancelled.discard(message.id)
                raise CancelledError
            await self._ask_robot(message.text)
        except CancelledError:
            fault = Fault.CANCELLED
        except Exception as error:
            failure = robot_error(error)
            fault = failure.fault
            if not isinstance(failure, CircuitOpenError):
                log.warn(
                    _("robot {robot}: {fault}: {detail}"),
                    robot=self._robot.name,
                    fault=fault.name,
                    detail=str(failure),
                )
        if not self._stopped:
            self._outbox.end(fault)

    async def _ask_robot(self, text: str) -> None:
        asked = Turn(Speaker.USER, text)
        parts: list[str] = []
        room = MAX_MESSAGE
        async with aclosing(self._robot.reply(Conversation(self._user_id, [*self._history.turns, asked]))) as chunks:
            async for chunk in chunks:
                data = chunk.encode(errors="replace")
                if len(data) > room:
                    self._outbox.add(data[:room].decode(errors="ignore").encode())
                    raise RobotError(Fault.TOO_LONG, _("the reply is longer than a message may be"))
                room -= len(data)
                if not isinstance(chunk, Notice):
                    parts.append(chunk)
                self._outbox.add(data)
                self._added()
                if self._must_wait():
                    self._room = Deferred()
                    try:
                        await self._room
                    finally:
                        self._room = None
        # What was not answered, or not whole, is not part of the conversation.
        if any(parts):
            self._history.add(asked, "".join(parts))
