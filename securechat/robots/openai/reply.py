"""The body of a response: an event stream, lines of JSON or one JSON object, whichever the server sends."""

from collections.abc import Iterator
from typing import Any, Final

from securechat.conversation import Notice
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.openai.chunks import first_choice, is_progress, native_choice, plain_text, reasoning_in, text_in
from securechat.robots.openai.errors import error_in, has_message
from securechat.robots.openai.finish_reasons import Ending, ending, is_reason, printable
from securechat.robots.openai.json_lines import JsonLines
from securechat.robots.openai.json_text import json_or_text, parse_json
from securechat.robots.openai.sse import MESSAGE, Event, EventStream
from securechat.robots.openai.visible_text import VisibleText

MAX_REASONING: Final = 64 * 1024  # characters of reasoning that may turn out to be the reply

_LEADING: Final = b" \t\r\n\xef\xbb\xbf"  # white space and byte order mark before a body
_DONE: Final = frozenset({"[done]", "done"})
_LAST_EVENTS: Final = frozenset({"done", "end"})


class Reply:
    """Parses the body of a response.

    `feed` and `end` return text for the user, and raise RobotError, possibly after some text.
    """

    def __init__(self) -> None:
        self.tokens = 0  # chunks with text or reasoning, which show that the model is working
        self.is_done = False  # [DONE] has arrived
        self._finish_reason: str | None = None
        self._has_gone_on = False  # after a finish reason: this server's say nothing about the end
        self._is_whole = False  # it was not streamed
        self._events: EventStream | JsonLines | None = None
        self._visible = VisibleText()
        self._has_text = False
        self._cumulative = ""  # the text so far, if each event repeats it
        self._reasoning: list[str] | None = []  # in case that there is nothing else; None if it is too long
        self._reasoning_size = 0
        self._error: RobotError | None = None  # that the server has reported
        self._suspect: dict[str, Any] | None = None  # an object that is an error if the reply is incomplete

    @property
    def is_complete(self) -> bool:
        """Whether only the end of the body is missing, as far as the server has said."""
        return self.is_done or (self._finish_reason is not None and not self._has_gone_on)

    def feed(self, data: bytes) -> Iterator[str]:
        """The text in the next bytes of the body. They are parsed as the iterator is advanced: exhaust it."""
        if self.is_done:
            return
        if self._events is None:
            data = data.lstrip(_LEADING)
            if not data:
                return
            # Servers and proxies send wrong content types; the first character is more reliable.
            if data.startswith(b"<"):
                raise RobotError(Fault.BROKEN_ANSWER, "the response is an HTML page")
            self._events = JsonLines() if data.startswith((b"{", b"[")) else EventStream()
        yield from self._texts(self._events.feed(data))

    def end(self) -> Iterator[str]:
        """The end of the body: the rest of the text, and a notice if it is not known to be the whole reply.

        RobotError if there is no reply, or if it is incomplete.
        """
        if self._events is not None and not self.is_done:
            yield from self._texts(self._events.end())
        if text := self.rest():
            self._has_text = True
            yield text
        yield from self._check_end()

    def rest(self) -> str:
        """Text that was held back because it might have been the beginning of a mark. For replies that break off."""
        return self._visible.end()

    def _texts(self, events: Iterator[Event]) -> Iterator[str]:
        """The text of events in one piece, and then the exception that they end in, if there is one."""
        parts: list[str] = []
        failure: Exception | None = None
        try:
            for event in events:
                parts.append(self._event(event))
                if self._error is not None:
                    raise self._error
                if self.is_done:
                    break
        except RobotError as error:
            failure = error
        if text := "".join(parts):
            yield text
        if failure is not None:
            raise failure

    def _event(self, event: Event) -> str:
        if event.type != MESSAGE:
            kind = event.type.strip().casefold()
            if "error" in kind or kind == "exception":
                self._error = error_in(json_or_text(event.data))
                return ""
            self.is_done = kind in _LAST_EVENTS
        data = event.data
        if text := plain_text(data):
            self.tokens += 1
            self._has_gone_on = self._has_gone_on or self._finish_reason is not None
            return self._visible_part(text)
        if not data.startswith("{"):
            data = data.strip()
            if data.strip('"').casefold() in _DONE:
                self.is_done = True
                return ""
            if not data.startswith(("{", "[")):
                return ""  # such as "ping"
        return self._value(parse_json(data))

    def _value(self, value: Any) -> str:
        if isinstance(value, dict):
            return self._object(value)
        objects = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        if not objects:
            raise RobotError(Fault.BROKEN_ANSWER, "unexpected JSON in the response")
        return "".join(map(self._object, objects))

    def _object(self, value: dict[str, Any]) -> str:
        """A chunk, a whole reply, an error, or anything else, such as the place in a queue."""
        choice = first_choice(value)
        if choice is None and "choices" not in value:
            choice = native_choice(value)
        text = self._choice(choice) if choice is not None else ""
        if value.get("error") or value.get("object") == "error" or value.get("type") == "error":
            self._error = error_in(value)
        elif choice is None and (
            has_message(value) or (isinstance(self._events, JsonLines) and "choices" not in value)
        ):
            self._suspect = value
        return text

    def _choice(self, choice: dict[str, Any]) -> str:
        delta = choice.get("delta")
        if not delta or not isinstance(delta, dict):
            delta = self._message(choice)
        content = delta.get("content")
        text = content if isinstance(content, str) else text_in(content)
        if not text:
            text = text_in(delta.get("refusal")) or text_in(choice.get("text"))
            if choice.get("error"):
                self._error = error_in(choice["error"])
        if text or is_progress(delta):
            self.tokens += 1
            self._has_gone_on = self._has_gone_on or self._finish_reason is not None
            if not text:
                self._keep_reasoning(delta)
        reason = choice.get("finish_reason") or choice.get("finishReason")
        if reason and is_reason(reason):
            self.tokens += 1
            self._finish_reason = reason
        return self._visible_part(text)

    def _visible_part(self, text: str) -> str:
        text = self._visible.feed(text)
        if text:
            self._has_text = True
        return text

    def _message(self, choice: dict[str, Any]) -> dict[str, Any]:
        """What a choice has instead of a delta with fields: a message, or only text."""
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(self._events, JsonLines):
            self._is_whole = self._is_whole or delta is None
        if isinstance(delta, str) and delta:
            return {"content": delta}
        if not isinstance(message, dict):
            return {}
        if isinstance(self._events, JsonLines):
            return message
        # In a stream, a message contains the whole reply so far, possibly after the same text in deltas.
        if self.tokens and not self._cumulative:
            return {}
        text, before = text_in(message.get("content")), self._cumulative
        self._cumulative = text if text.startswith(before) else before + text
        return {**message, "content": self._cumulative[len(before) :]}

    def _keep_reasoning(self, delta: dict[str, Any]) -> None:
        if self._reasoning is not None:
            text = reasoning_in(delta)
            self._reasoning.append(text)
            self._reasoning_size += len(text)
            if self._reasoning_size > MAX_REASONING:
                self._reasoning = None

    def _check_end(self) -> Iterator[str]:
        meant = self._ending()
        if meant in (Ending.FAILED, Ending.OVERLOADED):
            fault = Fault.BUSY if meant is Ending.OVERLOADED else Fault.BROKEN_ANSWER
            raise RobotError(fault, "the server aborted the reply")
        if meant is Ending.FILTERED:
            raise RobotError(Fault.REFUSED, "a content filter stopped the reply")
        if meant is Ending.LENGTH:
            if not self._has_text:
                raise RobotError(Fault.TOO_LONG, "the maximum length was reached before the reply began")
            # Not a fault: the conversation has to remember the reply, so that the user can ask for the rest.
            yield Notice("\n" + _("[The reply has reached its maximum length. You can ask the robot to continue.]"))
        elif not self._has_text:
            yield from self._reply_in_reasoning(meant)
        elif meant is Ending.UNKNOWN:
            yield Notice("\n" + self._doubt())

    def _ending(self) -> Ending:
        """How the reply ended. RobotError if the server has not said so."""
        if self._finish_reason is not None:
            return ending(self._finish_reason)
        if self._is_whole:
            return Ending.COMPLETE
        if self._suspect is not None:
            raise error_in(self._suspect)
        if not self.is_done:
            raise RobotError(Fault.BROKEN_ANSWER, "the reply was truncated")
        if not self._has_text:
            raise RobotError(Fault.BROKEN_ANSWER, "the server aborted the reply")
        return Ending.UNKNOWN

    def _reply_in_reasoning(self, meant: Ending) -> Iterator[str]:
        """The reply, if the server has put it into a field for reasoning; RobotError if there is none.

        Servers do so if the model does not reason although they expect it to.
        """
        visible = VisibleText()
        text = visible.feed("".join(self._reasoning or ())) + visible.end()
        if text and meant is Ending.COMPLETE:
            yield Notice(_("[The server sent this reply as the model's reasoning.]") + "\n")
            yield text
        elif self._visible.has_reasoning or self._reasoning != []:
            raise RobotError(Fault.BROKEN_ANSWER, "the reply contains only reasoning")
        else:
            raise RobotError(Fault.BROKEN_ANSWER, "the reply is empty")

    def _doubt(self) -> str:
        """What the user is told if the reply may be incomplete."""
        if self._finish_reason is None:
            return _("[The reply may be incomplete: the server did not say why it ended.]")
        text = _('[The reply may be incomplete: the server ended it with the reason "{reason}".]')
        return text.format(reason=printable(self._finish_reason))
