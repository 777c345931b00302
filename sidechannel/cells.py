"""The cells of the measurement: two classes of replies that should look alike, and how they are sent."""

from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final


class Sender(Enum):
    """What decides when records leave: the daemon and client as they are, or something naive."""

    SHAPED = "shaped"
    UNSHAPED = "unshaped"  # a naive sender: records leave when there is text, with `--shaping off`
    EPOLL = "epoll"  # a naive sender: shaped, but text wakes the process when it arrives and shifts Twisted's timers
    EAGER = "eager"  # a naive client: it sends its next message when the reply has ended


@dataclass(frozen=True)
class Contrast:
    """Two classes of replies, and the robot that gives them."""

    classes: tuple[str, str]
    robot: str
    is_batch: bool = False  # asked by the real client, from a pipe; it chooses when to send
    stream: bool | None = None  # of API requests: whether they ask for a stream; None for messages


_TOPICS: Final = ("weather", "illness")

CONTRASTS: Final = {
    "topics": Contrast(_TOPICS, "openai"),
    "pieces": Contrast(("whole", "pieces"), "openai"),
    "half": Contrast(("pieces", "half"), "openai"),
    "work": Contrast(("light", "heavy"), "eliza"),
    "batch": Contrast(("short", "long"), "openai", is_batch=True),
    "stream-calls": Contrast(_TOPICS, "openai", stream=True),
    "whole-calls": Contrast(_TOPICS, "openai", stream=False),
}

# The number of replies of a cell, and of daemons that share them, by sessions per daemon and tick in milliseconds. A
# train takes 50 ticks, so that a daemon with a single session needs minutes for a few dozen of them.
SIZES: Final = {(20, 20): (1200, 1), (1, 20): (480, 4), (20, 100): (480, 1), (1, 100): (360, 12)}


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    name: str
    contrast: Contrast
    sessions: int  # per daemon
    milliseconds: int  # of a tick
    sender: Sender = Sender.SHAPED

    @property
    def is_control(self) -> bool:
        """Whether the classes have to be told apart: the sender is naive."""
        return self.sender is not Sender.SHAPED

    @property
    def tick(self) -> float:
        """In seconds."""
        return self.milliseconds / 1000

    @property
    def daemons(self) -> int:
        return SIZES[self.sessions, self.milliseconds][1]

    @property
    def replies(self) -> int:
        """Of both classes together, unless another number is chosen."""
        return SIZES[self.sessions, self.milliseconds][0]


def _cell(name: str, sessions: int, milliseconds: int, sender: Sender = Sender.SHAPED) -> Cell:
    prefix = "" if sender is Sender.SHAPED else f"{sender.value}-"
    return Cell(f"{prefix}{name}-{sessions}-{milliseconds}", CONTRASTS[name], sessions, milliseconds, sender)


CELLS: Final = [_cell(name, sessions, milliseconds) for name in CONTRASTS for sessions, milliseconds in SIZES]

# The classifier has to catch these: if it could not, its failure with the others would prove nothing.
CONTROLS: Final = [
    _cell("topics", 20, 20, Sender.UNSHAPED),
    _cell("work", 1, 20, Sender.UNSHAPED),
    _cell("pieces", 1, 20, Sender.EPOLL),
    _cell("half", 1, 20, Sender.EPOLL),
    _cell("batch", 1, 20, Sender.EAGER),
    _cell("stream-calls", 20, 20, Sender.UNSHAPED),
    _cell("whole-calls", 20, 20, Sender.UNSHAPED),
]


def chosen(patterns: list[str]) -> list[Cell]:
    """The cells whose name matches one of these patterns, such as ``topics-1-*``; without any, all of them."""
    everything = [*CONTROLS, *CELLS]
    return [cell for cell in everything if not patterns or any(fnmatchcase(cell.name, one) for one in patterns)]
