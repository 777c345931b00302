"""A client's conversation from admission to goodbye: messages in, the robot asked, replies into the outbox."""

from contextlib import aclosing
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from securechat.calls.errors import RATE_LIMIT, api_error
from securechat.calls.requests import Access, ApiCall, Refusal, examine
from securechat.calls.responses import json_response
from securechat.conversation import Conversation, Notice, Speaker, Turn, Usage
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.errors import forget_frames, robot_error
from securechat.server.accounts import Counted, UserAccount
from securechat.server.current_robot import CurrentRobot
from securechat.server.estimates import ReplyEstimate, ResponseEstimate
from securechat.server.history import History, size_of
from securechat.server.outbox import Outbox
from securechat.server.pacing import Pace
from securechat.server.pseudonyms import Pseudonym
from securechat.server.quotas import Kind
from securechat.server.replies import Part, Reply, Result, TextReply
from securechat.wire.events import CallReceived, MessageReceived, RecallReceived
from securechat.wire.messages import Reason

log = Logger()


class User(NamedTuple):
    """The user of a session: the name for robots, and the account."""

    pseudonym: Pseudonym
    account: UserAccount


class _Question(NamedTuple):
    """A message in the inbox."""

    text: str
    reply: TextReply
    starts_afresh: bool  # NEW came before it


class _Request(NamedTuple):
    """An API request in the inbox."""

    call: CallReceived
    access: Access
    reply: Result


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
        "_robot",
        "_starts_afresh",
        "_task",
        "_user",
        "usage",
    )

    def __init__(
        self,
        robot: CurrentRobot,
        user: User,
        history: History,
        outbox: Outbox,
        pace: Pace,
        clock: IReactorTime,
    ) -> None:
        self._robot = robot
        self._user = user
        self._history = history
        self._outbox = outbox
        self._pace = pace
        self._clock = clock
        self.usage = Usage()  # of the robot, for these messages; may be replaced by one that others share
        self._inbox: list[_Question | _Request] = []
        self._starts_afresh = False
        self._is_answering = False
        self._has_answered = False  # one of the messages that were read together
        self._task: Deferred[None] | None = None  # that answers, while it waits for something
        self._current: Reply[Any] | None = None  # the reply that the robot is being asked for
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
        self._enqueue(_Question(message.text, reply, self._starts_afresh))
        self._starts_afresh = False

    def call(self, call: CallReceived, access: Access, *, refuse: bool = False) -> None:
        """Answer an API request after the messages that came before it; ignored once the session is to end.

        `refuse`: it exceeds a limit of its sender.
        """
        if self._ignores_messages:
            return
        result = None if refuse else self._outbox.open_result(call.id)
        if result is None:
            self.refuse(call.id, Fault.TOO_MANY_MESSAGES)
            return
        self._enqueue(_Request(call, access, result))

    def _enqueue(self, message: _Question | _Request) -> None:
        self._pace.message_received()  # before the robot is asked: its work must not move the ticks
        self._inbox.append(message)
        if not self._is_answering:
            self._start_answering(in_turn=self._has_answered)

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
        """Answer the messages received so far, and ignore others; fires when `leave` would interrupt nothing.

        It fires at once or in a turn of the reactor of its own: the task that has sent the last record would otherwise
        cancel itself.
        """
        self._is_draining = True
        drained = self._pace.drain()
        return drained if drained.called else drained.addCallback(lambda _drained: deferLater(self._clock, 0))

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
        try:
            if in_turn:
                await deferLater(self._clock, 0)
            while self._inbox:
                if self._outbox.is_full:
                    await self._outbox.room()
                self._has_answered = True
                await self._answer(self._inbox.pop(0))
                if self._inbox:
                    await deferLater(self._clock, 0)  # others get their turn
        except CancelledError as error:
            forget_frames(error)  # since Python 3.12 they keep the frames of the caller of `cancel`, and so the session
        self._is_answering = False
        self._task = self._current = None
        if self._inbox:
            self._start_answering(in_turn=self._has_answered)

    async def _answer(self, message: _Question | _Request) -> None:
        """Put a whole reply into the outbox, or the fault that ended it."""
        if isinstance(message, _Question) and message.starts_afresh:
            self._history.clear()
        reply = message.reply
        if reply.has_ended:  # cancelled before its turn
            return
        self._current = reply
        fault: Fault | None = None
        try:
            if isinstance(message, _Question):
                await self._ask_robot(message.text, message.reply)
            else:
                await self._call_robot(message.call, message.access, message.reply)
        except CancelledError:
            reply.end(Fault.CANCELLED)  # by `cancel`, or by the robot itself
            if not self._is_stopped:
                self._pace.flush()
            raise
        except Exception as error:
            failure = robot_error(error)
            fault = failure.fault
            if not isinstance(failure, CircuitOpenError):
                log.warn(
                    "robot {robot}: {fault}: {detail}",
                    robot=self._robot.robot.name,
                    fault=fault.name,
                    detail=str(failure),
                )
            forget_frames(failure)
            forget_frames(error)
        self._current = None
        reply.end(fault)
        self._pace.flush()

    async def _ask_robot(self, text: str, reply: TextReply) -> None:
        reached = self._user.account.begin(Kind.MESSAGE)
        if reached is not None:
            self._add(reply, f"[{reached}]\n".encode())
            reply.end(Fault.LIMIT_REACHED)
            return
        asked = Turn(Speaker.USER, text)
        parts: list[str] = []
        user_id, queue_key = self._user.pseudonym
        usage, estimate = Usage(), ReplyEstimate(self._history.size + size_of(text))
        conversation = Conversation(user_id, [*self._history.turns, asked], queue_key, self._pace.upstream, usage)
        with Counted(self.usage, usage, estimate, self._user.account), self._robot.in_use as robot:
            async with aclosing(robot.reply(conversation)) as chunks:
                async for chunk in chunks:
                    part = chunk.encode(errors="replace")
                    self._add(reply, part)
                    if not isinstance(chunk, Notice):
                        parts.append(chunk)
                        estimate.written += len(part)
                    self._pace.flush()
                    if self._outbox.is_full:
                        await self._outbox.room()
        # A question without a whole answer is not part of the conversation, nor is one that was cancelled.
        if any(parts) and not reply.has_ended:
            self._history.add(asked, "".join(parts))

    async def _call_robot(self, call: CallReceived, access: Access, result: Result) -> None:
        """Put the response to a request into the outbox, or why it is refused. The history knows nothing of it."""
        request = examine(call.path, call.body, access)
        if isinstance(request, Refusal):
            self._refuse_call(request, result)
            return
        account = self._user.account if request.body is not None else None  # a request for the list of models is free
        reached = account.begin(Kind.CALL) if account is not None else None
        if reached is not None:
            error = api_error(str(reached), code=reached.measure.value, kind=RATE_LIMIT)
            self._refuse_call(Refusal(None, 429, error, reached.seconds), result)
            return
        user_id, queue_key = self._user.pseudonym
        usage, estimate = Usage(), ResponseEstimate(request.route.path, len(call.body))
        api_call = ApiCall(request, user_id, queue_key, self._pace.upstream, usage)
        with Counted(self.usage, usage, estimate, account), self._robot.in_use as robot:
            async with aclosing(robot.call(api_call)) as items:
                async for item in items:
                    estimate.add(item)
                    self._add(result, item)
                    self._pace.flush()
                    if self._outbox.is_full:
                        await self._outbox.room()
        result.check_complete()

    def _refuse_call(self, refusal: Refusal, result: Result) -> None:
        if refusal.fault is not None:
            result.end(refusal.fault)
            return
        for item in json_response(refusal.status, refusal.error, refusal.retry_after):
            self._add(result, item)

    def _add(self, reply: Reply[Part], part: Part) -> None:
        """Append to a reply; RobotError if it becomes too long."""
        if not self._outbox.add(reply, part):
            raise RobotError(Fault.TOO_LONG, "the reply exceeds --max-reply")
