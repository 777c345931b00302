"""``make sidechannel``: whether an observer of the network can tell two classes of replies apart.

Replies pass through real daemons. The exit status is 0 if the classifier is at chance in every cell, and recognizes the
replies of senders that are naive. Without the name of a cell, all are measured, and the table in docs/sidechannel.md is
written anew.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

from securechat.wire.shaping import UNIT
from sidechannel.cells import Cell, Sender, chosen
from sidechannel.classify import Verdict, classify
from sidechannel.features import NAMES, features
from sidechannel.observe import observe
from sidechannel.pipe import observe_pipes
from sidechannel.servers import other_load
from sidechannel.traces import Sample

ENOUGH = 0.8  # area required of a control
PAGE = Path("docs/sidechannel.md")
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
HEAD = (
    "| cell | replies | area ± standard error | deviation | permuted labels | best single feature | other load |\n"
    "|---|---:|---:|---:|---:|---|---:|\n"
)


def comparable(cell: Cell, samples: list[Sample]) -> list[Sample]:
    """Those of the shortest bucket, because the bucket is visible; all if there are no buckets."""
    if cell.sender is Sender.UNSHAPED or cell.contrast.is_batch:
        return samples
    return [sample for sample in samples if sample.records == UNIT]


def judge(cell: Cell, samples: list[Sample], seed: int) -> Verdict:
    """The classifier's verdict on the observed replies."""
    return classify(
        [features(sample, cell.tick) for sample in samples],
        NAMES,
        [sample.label == cell.contrast.classes[0] for sample in samples],
        [sample.session for sample in samples],
        seed,
    )


def passes(cell: Cell, verdict: Verdict) -> bool:
    """Whether the result is as it should be: chance, or for a naive sender recognition."""
    return verdict.auc > ENOUGH if cell.is_control else verdict.is_chance


def measure(cell: Cell, replies: int, load: int, seed: int) -> tuple[bool, str]:
    """Whether the cell passes, and its row of the table."""
    before, start = other_load(), time.monotonic()
    is_piped = cell.contrast.is_batch and not cell.is_control
    samples = (observe_pipes if is_piped else observe)(cell, replies, load, seed)
    others = max(0.0, other_load() - before) / (time.monotonic() - start)
    compared = comparable(cell, samples)
    verdict = judge(cell, compared, seed)
    passed = passes(cell, verdict)
    columns = (
        cell.name if passed else f"**{cell.name}**",
        f"{len(compared)}" + f" of {len(samples)}" * (len(compared) < len(samples)),
        f"{verdict.auc:.3f} ± {verdict.error:.3f}",
        f"{verdict.deviation:+.1f}",
        f"{verdict.chance:.3f}",
        f"{verdict.telling}: {verdict.telling_auc:.3f}",
        f"{others:.2f}",
    )
    return passed, f"| {' | '.join(columns)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sidechannel", description=__doc__)
    parser.add_argument("cells", nargs="*", help="names of cells, also patterns such as 'topics-*' (default: all)")
    parser.add_argument("--replies", type=int, help="replies per cell, instead of the cell's own number")
    parser.add_argument("--load", type=int, default=0, help="conversations with each daemon beside the observed ones")
    parser.add_argument("--seed", type=int, default=1, help="seed of the questions and of the classifier")
    arguments = parser.parse_args()
    cells = chosen(arguments.cells)
    if not cells:
        parser.error(f"no such cell; they are {', '.join(cell.name for cell in chosen([]))}")
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    table, failed = HEAD, []
    print(HEAD, end="", flush=True)
    for cell in cells:
        passed, row = measure(cell, arguments.replies or cell.replies, arguments.load, arguments.seed)
        print(row, end="", flush=True)
        table += row
        if not passed:
            failed.append(cell.name)
    if not arguments.cells:
        before, _begin, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    print(f"failed: {', '.join(failed)}" if failed else "passed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
