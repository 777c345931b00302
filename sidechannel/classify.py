"""Whether replies of two topics can be told apart: gradient-boosted trees, and what chance would give."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PERMUTATIONS = 100
FOLDS = 5


@dataclass(frozen=True)
class Verdict:
    """How well one can tell: the area under the ROC curve, 0.5 for not at all, 1 for always."""

    auc: float
    error: float  # its standard error
    null: tuple[float, float]  # where 95 % of the areas lie if the labels say nothing
    roc: list[tuple[float, float]]  # false and true positives

    @property
    def is_chance(self) -> bool:
        """Within three standard errors of one half, and within what permuted labels give."""
        return abs(self.auc - 0.5) < 3 * self.error and self.null[0] <= self.auc <= self.null[1]


def standard_error(auc: float, positives: int, negatives: int) -> float:
    """That of an area under a ROC curve (Hanley and McNeil, 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(spread / (positives * negatives))


def classify(rows: Sequence[Sequence[float]], labels: Sequence[bool], sessions: Sequence[int], seed: int) -> Verdict:
    """Judge each reply by trees that saw none of its session; labels are permuted within sessions for the null."""
    os.environ["OMP_NUM_THREADS"] = "1"  # so few rows: more threads wait for each other
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score, roc_curve
    from sklearn.model_selection import GroupKFold, cross_val_predict

    x, groups = np.array(rows), np.array(sessions)
    drawn = np.random.default_rng(seed)

    def scores(y: Any) -> Any:
        trees = HistGradientBoostingClassifier(max_iter=40, random_state=seed)
        return cross_val_predict(trees, x, y, groups=groups, cv=GroupKFold(FOLDS), method="predict_proba")[:, 1]

    def permuted(y: Any) -> Any:
        mixed = y.copy()
        for group in np.unique(groups):
            mixed[groups == group] = drawn.permutation(y[groups == group])
        return mixed

    y = np.array(labels)
    found = scores(y)
    auc = float(roc_auc_score(y, found))
    null = [float(roc_auc_score(mixed, scores(mixed))) for mixed in (permuted(y) for _ in range(PERMUTATIONS))]
    low, high = np.quantile(null, [0.025, 0.975])
    false, true, _thresholds = roc_curve(y, found)
    return Verdict(
        auc,
        standard_error(auc, int(y.sum()), int((~y).sum())),
        (float(low), float(high)),
        [(float(x), float(y)) for x, y in zip(false, true, strict=True)],
    )
