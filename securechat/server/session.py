"""A client's conversation from admission to goodbye: messages in, the robot asked, replies into the outbox."""

from contextlib import aclosing, suppress
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.errors import robot_error
from securechat.robots.interface import IRobot
from securechat.server.history import History
from securechat.server.outbox import Outbox, Reply
from securechat.server.pacing import Pace
from securechat.server.pseudonyms import Pseudonym
from securechat.wire.events import CallReceived, MessageReceived, RecallReceived
from securechat.wire.messages import Reason

log = Logger()


class _Question(NamedTuple):
    """A message in the inbox."""

    text: str
    reply: Reply
    starts_afresh: bool  # NEW came before it


class Session:
    """Answers messages one after the other, in a single task that lives while there are any.

    A reply's place in the outbox is opened when its message arrives; from then on the pace knows that more will come.
    """

    __slots__ = (
        "_clock",
        "_current",
        "_has_answered",
        "_history",
        "_inbox",
        "_is_answering",
        "_is_draining",
        "_is_stopped",
        "_outbox",
        "_pace",
        "_pseudonym",
        "_robot",
        "_starts_afresh",
        "_task",
    )

    def __init__(
        self,
        robot: IRobot,
        pseudonym: Pseudonym,
        history: History,
        outbox: Outbox,
        pace: Pace,
        clock: IReactorTime,
    ) -> None:
        self._robot = robot
        self._pseudonym = pseudonym
        self._history = history
        self._outbox = outbox
        self._pace = pace
        self._clock = clock
        self._inbox: list[_Question] = []
        self._starts_afresh = False
        self._is_answering = False
        self._has_answered = False  # one of the messages that were read together
        self._task: Deferred[None] | None = None  # that answers, while it waits for something
        self._current: Reply | None = None  # the reply that the robot is being asked for
        self._is_stopped = False
        self._is_draining = False

    def start_afresh(self) -> None:
        """Clear the history before the next message."""
        self._starts_afresh = True

    def recall(self, recall: RecallReceived) -> None:
        """Replace the history. Every reply has ended: what is left in the inbox was cancelled."""
        self._inbox.clear()
        self._starts_afresh = False
        self._history.replace(recall.turns)

    def ask(self, message: MessageReceived, *, refuse: bool = False) -> None:
        """Answer a message after those that came before it, or refuse it; ignored once the session is to end.

        `refuse`: it exceeds a limit of its sender.
        """
        if self._ignores_messages:
            return
        reply = None if refuse else self._outbox.open(message.id)
        if reply is None:
            self.refuse(message.id, Fault.TOO_MANY_MESSAGES)
            return
        self._pace.message_received()  # before the robot is asked: its work must not move the ticks
        self._inbox.append(_Question(message.text, reply, self._starts_afresh))
        self._starts_afresh = False
        if not self._is_answering:
            self._start_answering(in_turn=self._has_answered)

    def call(self, call: CallReceived, *, refuse: bool = False) -> None:
        """Answer an API request, which this server does not take, in its turn; ignored once the session is to end.

        `refuse`: it exceeds a limit of its sender.
        """
        if self._ignores_messages:
            return
        reply = None if refuse else self._outbox.open(call.id)
        if reply is None:
            self.refuse(call.id, Fault.TOO_MANY_MESSAGES)
            return
        self._pace.message_received()
        reply.end(Fault.NOT_ALLOWED)

    def refuse(self, message_id: int, fault: Fault) -> None:
        """Answer a message with a fault alone, in its turn; ignored once the session is to end."""
        if not self._ignores_messages:
            self._pace.message_received()
            self._outbox.refuse(message_id, fault)

    def cancel(self, message_id: int) -> None:
        """Stop the reply to a message, now or when its turn comes; no error if it has ended."""
        reply = self._outbox.cancel(message_id)
        if reply is not None and reply is self._current and self._task is not None:
            self._current = None  # a task is cancelled once
            self._task.cancel()

    def drain(self) -> Deferred[None]:
        """Answer the messages received so far, and ignore others; fires when `leave` would interrupt nothing."""
        self._is_draining = True
        return self._pace.drain()

    @property
    def _ignores_messages(self) -> bool:
        return self._is_stopped or self._is_draining

    def leave(self, reason: Reason) -> Deferred[None]:
        """Stop answering and send GOODBYE; fires once it is written."""
        self._stop_answering()
        return self._pace.leave(reason)

    def stop(self) -> None:
        """The connection is gone: stop answering, and write nothing more."""
        self._pace.stop()
        self._stop_answering()

    def _stop_answering(self) -> None:
        self._is_stopped = True
        self._inbox.clear()
        if self._task is not None:
            self._task.cancel()

    def input_begins(self) -> None:
        """Messages follow that were read together: at most one of them is answered in this turn of the reactor."""
        self._has_answered = False

    def _start_answering(self, *, in_turn: bool) -> None:
        self._is_answering = True
        task = Deferred.fromCoroutine(self._answer_all(in_turn))
        if not task.called:
            self._task = task

    async def _answer_all(self, in_turn: bool) -> None:
        """Answer the messages in the inbox, one after the other, until there are none or a reply is cancelled."""
        with suppress(CancelledError):
            if in_turn:
                await deferLater(self._clock, 0)
            while self._inbox:
                if self._outbox.is_full:
                    await self._outbox.room()
                self._has_answered = True
                await self._answer(self._inbox.pop(0))
                if self._inbox:
                    await deferLater(self._clock, 0)  # others get their turn
        self._is_answering = False
        self._task = self._current = None
        if self._inbox:
            self._start_answering(in_turn=self._has_answered)

    async def _answer(self, question: _Question) -> None:
        """Put a whole reply into the outbox, or the fault that ended it."""
        if question.starts_afresh:
            self._history.clear()
        reply = question.reply
        if reply.has_ended:  # cancelled before its turn
            return
        self._current = reply
        fault: Fault | None = None
        try:
            await self._ask_robot(question.text, reply)
        except CancelledError:
            reply.end(Fault.CANCELLED)  # also if nobody here cancelled it: the robot did
            if not self._is_stopped:
                self._pace.flush()
            raise
        except Exception as error:
            failure = robot_error(error)
            fault = failure.fault
            if not isinstance(failure, CircuitOpenError):
                log.warn(
                    "robot {robot}: {fault}: {detail}", robot=self._robot.name, fault=fault.name, detail=str(failure)
                )
        self._current = None
        reply.end(fault)
        self._pace.flush()

    async def _ask_robot(self, text: str, reply: Reply) -> None:
        asked = Turn(Speaker.USER, text)
        parts: list[str] = []
        user_id, queue_key = self._pseudonym
        conversation = Conversation(user_id, [*self._history.turns, asked], queue_key, self._pace.upstream)
        async with aclosing(self._robot.reply(conversation)) as chunks:
            async for chunk in chunks:
                if not self._outbox.add(reply, chunk.encode(errors="replace")):
                    raise RobotError(Fault.TOO_LONG, "the reply exceeds --max-reply")
                if not isinstance(chunk, Notice):
                    parts.append(chunk)
                self._pace.flush()
                if self._outbox.is_full:
                    await self._outbox.room()
        # A question without a whole answer is not part of the conversation, nor is one that was cancelled.
        if any(parts) and not reply.has_ended:
            self._history.add(asked, "".join(parts))
