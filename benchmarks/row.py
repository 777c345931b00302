"""A row: a load, and the contenders that take turns with it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

Figures = Mapping[str, float]  # by quantity, whose text ends with the unit
Measure = Callable[[], Figures]  # applies the load once
Contenders = Mapping[str, Measure | str]  # by name, securechat first; a text is the reason why one is left out


@dataclass(frozen=True)
class Row:
    """A load. `start` starts the servers of all contenders; its argument is the length of a load, 1.0 normally."""

    name: str  # on the command line
    title: str
    start: Callable[[float], AbstractContextManager[Contenders]]


@dataclass
class Results:
    """What was measured for one row."""

    title: str
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # by quantity and contender
    reasons: dict[str, str] = field(default_factory=dict)  # by contender that was left out


def measure(row: Row, rounds: int, scale: float, say: Callable[[str], object]) -> Results:
    """Measure all contenders in turn, `rounds` times and in alternating order, after a round that does not count."""
    results = Results(row.title)
    with row.start(scale) as contenders:
        measures: list[tuple[str, Measure]] = []
        for name, contender in contenders.items():
            if isinstance(contender, str):
                results.reasons[name] = contender
            else:
                measures.append((name, contender))
        for number in range(rounds + 1):
            say(f"{row.name}: round {number} of {rounds}" if number else f"{row.name}: warming up")
            for name, contender in measures[:: (-1) ** number]:
                for quantity, figure in contender().items():
                    figures = results.figures.setdefault(quantity, {}).setdefault(name, [])
                    if number:
                        figures.append(figure)
    return results
