"""Tables of Markdown, aligned by the columns that their text takes on a screen."""

import re
from collections.abc import Sequence
from typing import Final

from securechat.client.terminal.inline import parse
from securechat.client.terminal.prose import Prose
from securechat.client.terminal.styles import Row, Span, Style, plain, width

MAX_COLUMNS: Final = 64

_DELIMITER: Final = re.compile(r":?-+:?")
_CELL: Final = re.compile(r"(?:[^|\\`]|\\.|`[^`]*`|[\\`])*")
_GAP: Final = (Style.PLAIN, "  ")


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    cells = []
    at = 0
    while at <= len(line):
        found = _CELL.match(line, at)
        assert found is not None  # it may be empty
        cells.append(found[0].strip().replace("\\|", "|"))
        at = found.end() + 1
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def is_table(lines: Sequence[str]) -> bool:
    """Whether the second line separates a heading from rows."""
    if len(lines) < 2:
        return False
    delimiters = _cells(lines[1])
    return len(delimiters) <= MAX_COLUMNS and all(map(_DELIMITER.fullmatch, delimiters))


def layout(lines: Sequence[str], columns: int, *, keep_marks: bool) -> list[Row]:
    """The rows of a table. If it is too wide, each cell has a line of its own, after the name of its column."""
    alignments = _cells(lines[1])
    number = len(alignments)
    table: list[list[Row]] = []
    for line in (lines[0], *lines[2:]):
        cells = (_cells(line) + [""] * number)[:number]
        style = Style.PLAIN if table else Style.BOLD
        table.append([[(style, cell)] if keep_marks else parse(cell, final=True, style=style)[0] for cell in cells])
    widths = [max(width(plain(row[column])) for row in table) for column in range(number)]
    if sum(widths) + len(_GAP[1]) * (number - 1) > columns:
        return _records(table, columns)
    rows = [_aligned(row, widths, alignments) for row in table]
    rule: Row = []
    for size in widths:
        rule += [_GAP, (Style.DIM, "-" * size)] if rule else [(Style.DIM, "-" * size)]
    return [rows[0], rule, *rows[1:]]


def _aligned(cells: list[Row], widths: list[int], alignments: list[str]) -> Row:
    row: Row = []
    for index, (cell, size, alignment) in enumerate(zip(cells, widths, alignments, strict=True)):
        missing = size - width(plain(cell))
        left = 0
        if alignment.endswith(":"):
            left = missing // 2 if alignment.startswith(":") else missing
        row += [*([_GAP] if index else []), *_spaces(left), *cell, *_spaces(missing - left)]
    while row and not row[-1][1].strip():
        row.pop()
    return row


def _spaces(number: int) -> list[Span]:
    return [(Style.PLAIN, " " * number)] if number else []


def _records(table: list[list[Row]], columns: int) -> list[Row]:
    rows: list[Row] = []
    names = table[0]
    for cells in table[1:]:
        if rows:
            rows.append([])
        for name, cell in zip(names, cells, strict=True):
            prose = Prose([], [(Style.PLAIN, "  ")])
            rows += prose.feed([*name, (Style.PLAIN, ": "), *cell], columns)
            rows.append(prose.end())
    return rows
