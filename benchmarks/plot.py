"""``python -m benchmarks.plot FIGURES.json PLOT.svg``: bar chart of each load's ratio to Twisted's TLS 1.3."""

import json
import statistics
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

BASELINE: Final = "Twisted TLS 1.3"
COLOURS: Final = {BASELINE: "#9aa5b1", "uvloop TLS 1.3": "#c9b37e", "TCP accept": "#dfe3e8"}
OURS: Final = "#2f6f9f"
ROW: Final = 18  # pixels per bar, including the gap
LEFT: Final = 210  # pixels reserved for names
WIDTH: Final = 760
UNIT: Final = 200  # pixels for a ratio of 1
MOST: Final = (WIDTH - LEFT - 60) / UNIT  # longer bars are clipped; the number next to a bar is exact


def bars(rows: list[tuple[str, str, float]]) -> str:
    """The SVG for rows of (load, server, ratio)."""
    parts: list[str] = []
    y = 10
    for load, group in groupby(rows, key=lambda row: row[0]):
        parts.append(f'<text x="10" y="{y + 12}" font-weight="bold">{escape(load)}</text>')
        y += ROW
        for _load, server, ratio in group:
            width = min(ratio, MOST) * UNIT
            colour = COLOURS.get(server, OURS)
            parts.append(f'<text x="20" y="{y + 12}">{escape(server)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{width:.0f}" height="{ROW - 5}" fill="{colour}"/>')
            parts.append(f'<text x="{LEFT + width + 5:.0f}" y="{y + 12}">{ratio:.2f}</text>')
            y += ROW
        y += 6
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    background = f'<rect width="{WIDTH}" height="{y + 6}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 6}" {style}>'
    return "\n".join([head, background, *parts, "</svg>", ""])


def main() -> None:
    figures, plot = map(Path, sys.argv[1:])
    medians = [(load, server, statistics.median(values)) for load, server, values in json.loads(figures.read_text())]
    base = {load: median for load, server, median in medians if server == BASELINE}
    rows = sorted((load, server, median / base[load]) for load, server, median in medians if load in base)
    plot.write_text(bars(rows))


if __name__ == "__main__":
    main()
