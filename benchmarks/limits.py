"""Figures beside their limits, as a table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.process import CORES
from benchmarks.table import number

HEAD: Final = "| quantity | figure | limit |\n|---|---:|---:|"


@dataclass(frozen=True)
class Figure:
    """Something that was measured. The text of `quantity` ends with the unit."""

    quantity: str
    value: float
    most: float | None = None  # without a limit, it is only reported

    @property
    def is_within(self) -> bool:
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        limit = "" if self.most is None else number(self.most)
        return f"| {self.quantity} | {number(self.value)} | {limit} |"


def report(figures: Sequence[Figure]) -> bool:
    """Print figures and the load of the machine; whether all are within their limits."""
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(HEAD, *figures, sep="\n")
    print(f"{len(CORES)} cores, load averages {load}")
    exceeded = [figure.quantity for figure in figures if not figure.is_within]
    print(f"failed: {'; '.join(exceeded)}" if exceeded else "passed", flush=True)
    return not exceeded
