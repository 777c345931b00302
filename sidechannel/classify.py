"""Whether replies on two topics can be distinguished: gradient-boosted trees, compared with chance."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PERMUTATIONS = 100
FOLDS = 5


@dataclass(frozen=True)
class Verdict:
    """The classifier's success: the area under the ROC curve, 0.5 for chance, 1 for certainty."""

    auc: float
    error: float  # its standard error
    null: tuple[float, float]  # range of 95 % of the areas with permuted labels
    roc: list[tuple[float, float]]  # (false positive rate, true positive rate)

    @property
    def is_chance(self) -> bool:
        """Whether the area is within three standard errors of one half and within the range of permuted labels."""
        return abs(self.auc - 0.5) < 3 * self.error and self.null[0] <= self.auc <= self.null[1]


def standard_error(auc: float, positives: int, negatives: int) -> float:
    """Standard error of an area under a ROC curve (Hanley and McNeil, 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(spread / (positives * negatives))


def classify(rows: Sequence[Sequence[float]], labels: Sequence[bool], sessions: Sequence[int], seed: int) -> Verdict:
    """Classify each reply with trees trained on other sessions. For the null, labels are permuted within sessions."""
    os.environ["OMP_NUM_THREADS"] = "1"  # with so few rows, more threads only wait for each other
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
