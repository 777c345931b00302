"""What is said between a user and a robot: turns, and the conversation that they make."""

from dataclasses import dataclass, field
from enum import Enum


class Speaker(Enum):
    """Who said something."""

    USER = "user"
    ROBOT = "robot"


@dataclass(frozen=True, slots=True, repr=False)
class Turn:
    """One thing that was said."""

    speaker: Speaker
    text: str


@dataclass(slots=True, repr=False)
class Conversation:
    """What a robot is told: who talks to it, under a pseudonym, and what was said; the last turn wants an answer."""

    user_id: str  # 32 hexadecimal digits, the same for a user as long as the server keeps its host key
    turns: list[Turn] = field(default_factory=list)  # oldest first
    queue_key: str = ""  # conversations with the same one share a place in queues; by default, those of the same user


class Notice(str):
    """A chunk about the reply rather than of it: the user sees it, the conversation does not remember it.

    A reply of nothing else is no answer: if there is another robot, it is asked instead.
    """

    __slots__ = ()
