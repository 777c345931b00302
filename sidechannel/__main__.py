"""``make sidechannel``: whether an observer of the network can recognize the topic of a reply.

Replies on two topics pass through a real daemon, shaped and, as a control, unshaped. A table and a plot are written to
docs/. The exit status is 0 if the shaped replies are indistinguishable and the unshaped ones are not.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from securechat.wire.shaping import UNIT, Shaping
from sidechannel.classify import PERMUTATIONS, Verdict, classify
from sidechannel.features import features
from sidechannel.model import TICK, TOPICS
from sidechannel.observe import Sample, observe
from sidechannel.picture import picture

ENOUGH = 0.9  # area required for the unshaped replies: below it, the classifier proves nothing
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


def judge(samples: list[Sample], seed: int) -> Verdict:
    """The classifier's verdict on the observed replies."""
    first, *_other = TOPICS
    return classify(
        [features(sample.pieces) for sample in samples],
        [sample.topic == first for sample in samples],
        [sample.session for sample in samples],
        seed,
    )


def line(name: str, samples: list[Sample], verdict: Verdict) -> str:
    """One row of the table."""
    low, high = verdict.null
    topics = Counter(sample.topic for sample in samples)
    counts = " + ".join(str(topics[topic]) for topic in TOPICS)
    return f"| {name} | {counts} | {verdict.auc:.3f} ± {verdict.error:.3f} | {low:.3f} – {high:.3f} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sidechannel", description=__doc__)
    parser.add_argument("--replies", type=int, default=1200, help="replies, both shaped and unshaped")
    parser.add_argument("--sessions", type=int, default=20, help="concurrent sessions")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="directory of sidechannel.md and .svg")
    arguments = parser.parse_args()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    observed = {
        shaping: observe(shaping, arguments.replies, arguments.sessions, arguments.seed, tell)
        for shaping in (Shaping.REPLY, Shaping.OFF)
    }
    in_bucket = [sample for sample in observed[Shaping.REPLY] if sample.records == UNIT]
    others = len(observed[Shaping.REPLY]) - len(in_bucket)
    shaped, naive = judge(in_bucket, arguments.seed), judge(observed[Shaping.OFF], arguments.seed)
    table = (
        "| sender | replies | area under the ROC curve ± standard error | 95 % of permuted labels |\n"
        "|---|---:|---:|---:|\n"
        + line("`--shaping reply`, one bucket", in_bucket, shaped)
        + line("`--shaping off`", observed[Shaping.OFF], naive)
        + f"\nTick {TICK * 1000:g} ms, {arguments.sessions} concurrent sessions, {PERMUTATIONS} permutations, "
        f"seed {arguments.seed}; replies left out because of a longer bucket: {others}.\n"
    )
    print(table)
    page = arguments.docs / "sidechannel.md"
    before, _begin, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    curves = {f"shaped: {shaped.auc:.3f}": shaped.roc, f"unshaped: {naive.auc:.3f}": naive.roc}
    (arguments.docs / "sidechannel.svg").write_text(picture(curves))
    holds = shaped.is_chance and naive.auc > ENOUGH
    print("indistinguishable" if holds else "DISTINGUISHABLE" if naive.auc > ENOUGH else "inconclusive: control failed")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
