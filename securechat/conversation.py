"""A conversation between a user and a robot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from msgspec import Struct


class Speaker(Enum):
    """The author of a turn."""

    USER = "user"
    ROBOT = "robot"


class Turn(Struct, frozen=True, gc=False):
    """One message of the user, or one reply of the robot."""

    speaker: Speaker
    text: str

    def __repr__(self) -> str:
        """Who it is of, and not what they said."""
        return f"<Turn of {self.speaker.value}>"


@dataclass(slots=True, repr=False)
class Upstream:
    """The server that a robot reads from, for a session that sends at ticks.

    A robot that streams a reply sets `poll`, and reads only when it is called. One call reads what has arrived, with a
    limit, and does not wait. When the reply ends, the robot resets it to None.
    """

    poll: Callable[[], None] | None = None


@dataclass(slots=True)
class Usage:
    """Numbers of tokens, as a robot's server reports them. A robot adds those of each answer that it gets."""

    prompt: int = 0
    completion: int = 0

    def add(self, prompt: int, completion: int) -> None:
        self.prompt += prompt
        self.completion += completion


@dataclass(slots=True, repr=False)
class Conversation:
    """What a robot is given: the user's pseudonym and the turns so far. The last one is the message to answer."""

    user_id: str  # 32 hexadecimal digits, the same for a user as long as the server keeps its host key
    turns: list[Turn] = field(default_factory=list)  # oldest first
    queue_key: str = ""  # conversations with the same one share a place in queues; by default, those of the same user
    upstream: Upstream | None = None  # None: the robot reads when it likes
    usage: Usage = field(default_factory=Usage)


class Notice(str):
    """A chunk that is shown to the user but not remembered, because it is about the reply and not part of it.

    A reply that consists of notices only is no answer: the next robot is asked, if there is one.
    """

    __slots__ = ()
