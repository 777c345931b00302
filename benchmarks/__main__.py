"""``make bench``: securechat beside its alternatives, measured in turn in the same run; one table.

All servers run as their users start them, on one core; the load comes from the other. docs/performance.md explains the
rows. Exits with status 1 if a row failed; the others are measured nevertheless.
"""

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import twisted
from OpenSSL import SSL

from benchmarks.process import prepare_load
from benchmarks.row import Results, Row, measure
from benchmarks.rows import ROWS
from benchmarks.table import table, write_into

QUICK = 0.2  # the length of a load with --quick


def measure_all(rows: Sequence[Row], rounds: int, scale: float) -> tuple[list[Results], list[str]]:
    """The results of the rows, and the names of those that failed."""
    results, failed = [], []
    start = time.monotonic()
    for row in rows:
        try:
            results.append(measure(row, rounds, scale, lambda line: _progress(start, line)))
        except Exception:
            traceback.print_exc()
            failed.append(row.name)
    return results, failed


def _progress(start: float, line: str) -> None:
    print(f"{time.monotonic() - start:4.0f} s  {line}", file=sys.stderr)


def versions(rounds: int) -> str:
    """What the table depends on."""
    library = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"Rounds: {rounds}. Python {python}, Twisted {twisted.__version__}, {library}, {cores} cores."


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows whose names begin with one of these, all without any."""
    return [row for row in ROWS if not names or row.name.startswith(tuple(names))]


def parser() -> argparse.ArgumentParser:
    rows = ", ".join(row.name for row in ROWS)
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=f"Rows: {rows}")
    made.add_argument("rows", nargs="*", metavar="ROW", help="a row, or the beginning of several names (default: all)")
    made.add_argument("--rounds", type=int, default=5, help="rounds per row (default: 5)")
    made.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    made.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, if no row failed")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if not hasattr(os, "sched_setaffinity"):
        parser().error("needs Linux")
    rows = chosen(options.rows)
    if not rows:
        parser().error(f"no row is called {' '.join(options.rows)}")
    if options.write and (options.rows or options.quick):
        parser().error("--write needs all rows in full length")
    rounds, scale = (1, QUICK) if options.quick else (options.rounds, 1.0)
    about = versions(rounds)
    prepare_load()
    results, failed = measure_all(rows, rounds, scale)
    text = f"{table(results)}\n{about}\n"
    print(text, end="")
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    elif options.write:
        write_into(options.write, text)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
