"""Whether two classes of replies can be distinguished: gradient-boosted trees, compared with chance."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PERMUTATIONS = 100
FOLDS = 5
BOUND = 3.0  # standard errors


@dataclass(frozen=True)
class Verdict:
    """The classifier's success: the area under the ROC curve, 0.5 for chance, 1 for certainty."""

    auc: float
    chance: float  # mean of the areas with permuted labels
    error: float  # their standard deviation
    telling: str  # the feature that alone distinguishes the classes best
    telling_auc: float

    @property
    def deviation(self) -> float:
        """By how many standard errors the area differs from one half."""
        return (self.auc - 0.5) / self.error if self.error else 0.0

    @property
    def is_chance(self) -> bool:
        return abs(self.deviation) < BOUND


def classify(
    rows: Sequence[Sequence[float]],
    names: Sequence[str],
    labels: Sequence[bool],
    sessions: Sequence[int],
    seed: int,
) -> Verdict:
    """Classify each reply with trees trained on other sessions; `names` are those of the features in each row.

    The standard error is found by doing the same with labels permuted within sessions. Formulas for a single test set
    would give a smaller one, because the five classifiers share most of their training data.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # with so few rows, more threads only wait for each other
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    x, y, groups = np.array(rows), np.array(labels), np.array(sessions)
    folds = GroupKFold(min(FOLDS, len(set(sessions))))
    drawn = np.random.default_rng(seed)

    def area(y: Any) -> float:
        trees = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, max_features=0.3, random_state=seed)
        found = cross_val_predict(trees, x, y, groups=groups, cv=folds, method="predict_proba")[:, 1]
        return float(roc_auc_score(y, found))

    def permuted() -> Any:
        mixed = y.copy()
        for group in np.unique(groups):
            mixed[groups == group] = drawn.permutation(y[groups == group])
        return mixed

    null = [area(permuted()) for _ in range(PERMUTATIONS)]
    alone = [float(roc_auc_score(y, column)) for column in x.T]
    telling = max(range(len(alone)), key=lambda column: abs(alone[column] - 0.5))
    return Verdict(area(y), float(np.mean(null)), float(np.std(null)), names[telling], alone[telling])
