"""What is kept of a client's messages, whatever becomes of them: numbers, log lines, and its rate."""

from collections.abc import Callable

from twisted.logger import Logger

from securechat.server.admission import Place
from securechat.server.counters import UserCounters
from securechat.server.lifetime import Lifetime
from securechat.server.message_log import CallLog, MessageLog
from securechat.wire.events import CallReceived, MessageReceived

log = Logger()


class Accounting:
    """Counts, logs and limits the messages and API requests of one session."""

    __slots__ = ("_calls", "_counters", "_lifetime", "_log_text", "_messages", "_monotonic", "_number", "_place")

    def __init__(
        self,
        number: int,
        place: Place,
        counters: UserCounters,
        lifetime: Lifetime,
        monotonic: Callable[[], float],
        *,
        log_text: bool,
    ) -> None:
        """`number` is the session's. `log_text`: whether the text of messages is logged, at debug level."""
        self._number = number
        self._place = place
        self._counters = counters
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._log_text = log_text
        self._messages = MessageLog(number)
        self._calls = CallLog(number)

    def message_received(self, message: MessageReceived) -> bool:
        """Whether the rate of messages allows this one."""
        now = self._monotonic()
        self._counters.messages += 1
        self._messages.add(len(message.text), now)
        self._lifetime.note_activity()
        if self._log_text:
            log.debug("client {number}: {text}", number=self._number, text=message.text)
        return self._place.take_message(now)

    def message_refused(self) -> None:
        """There was no memory for a message. It counts, but was not kept."""
        self._counters.messages += 1
        self._lifetime.note_activity()
        self._place.take_message(self._monotonic())

    def call_received(self, call: CallReceived) -> bool:
        """Whether the rate of API requests allows this one."""
        now = self._monotonic()
        self._counters.calls += 1
        self._calls.add(len(call.body), now)
        self._lifetime.note_activity()
        return self._place.take_call(now)

    def call_refused(self) -> None:
        """There was no memory for an API request."""
        self._counters.calls += 1
        self._lifetime.note_activity()
        self._place.take_call(self._monotonic())

    def stop(self) -> None:
        """The connection is closed: write the log lines that wait."""
        self._messages.write()
        self._calls.write()
