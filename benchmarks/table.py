"""The results as one Markdown table."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.row import Results

OPEN: Final = "<!-- table -->\n"
CLOSE: Final = "<!-- end of table -->\n"
OURS: Final = "securechat"
HEAD: Final = (
    f"| load | quantity | {OURS} | compared with | its figure | ratio |",
    "|---|---|---:|---|---:|---:|",
)


def number(figure: float) -> str:
    """Three significant digits, or all digits of the integer part."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def spread(figures: Sequence[float]) -> str:
    """Median, and minimum and maximum in parentheses."""
    return f"{number(statistics.median(figures))} ({number(min(figures))} – {number(max(figures))})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of the medians."""
    divisor = statistics.median(theirs)
    return number(statistics.median(ours) / divisor) if divisor else ""


def _lines(title: str, quantity: str, contenders: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """One line for each contender beside ours; the first has our figure, too."""
    ours = contenders[OURS]
    left = f"| {title} | {quantity} | {spread(ours)}"
    others = [(name, figures) for name, figures in contenders.items() if name != OURS]
    if not others:
        yield f"{left} | | | |"
    for name, figures in others:
        yield f"{left} | {name} | {spread(figures)} | {ratio(ours, figures)} |"
        left = "| | |"


def table(results: Sequence[Results]) -> str:
    """The table, and below it what was left out and why."""
    lines = list(HEAD)
    reasons: dict[str, None] = {}  # each once, in order
    for row in results:
        for quantity, contenders in row.figures.items():
            lines += _lines(row.title, quantity, contenders)
        reasons |= dict.fromkeys(f"Left out: {name}, because {reason}." for name, reason in row.reasons.items())
    return "\n".join([*lines, *(line for reason in reasons for line in ("", reason))]) + "\n"


def write_into(page: Path, text: str) -> None:
    """Put the text between the markers of a page. ValueError if it has none."""
    before, opened, rest = page.read_text().partition(OPEN)
    _old, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        raise ValueError(f"{page} has no {OPEN.strip()} … {CLOSE.strip()}")
    page.write_text(f"{before}{OPEN}\n{text}\n{CLOSE}{after}")
