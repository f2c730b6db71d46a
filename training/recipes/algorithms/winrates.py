"""How often one policy beats another, and how often it would if their answers were equally long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Verdict = Literal["better", "worse", "no difference shown"]
RIDGE = 0.1  # pull of both coefficients to zero, so that a handful of one-sided wins does not drive them to infinity


def win(score: float, other: float) -> float:
    """1 for a win, 0 for a loss, a half for a tie."""
    return 0.5 + 0.5 * ((score > other) - (score < other))


def verdict(low: float, high: float) -> Verdict:
    """What an interval of the win rate shows.

    >>> verdict(0.45, 0.8), verdict(0.51, 0.8), verdict(0.2, 0.49)
    ('no difference shown', 'better', 'worse')
    """
    if low > 0.5:
        return "better"
    return "worse" if high < 0.5 else "no difference shown"


def length_controlled(wins: Sequence[float], longer_by: Sequence[float]) -> float:
    """The win rate at equal length: logistic regression of the wins on the difference of lengths, read at zero.

    After length-controlled AlpacaEval (Dubois et al., 2024), without its terms for the single prompts.

    >>> wins = [1, 1, 1, 0, 0, 0]
    >>> length_controlled(wins, [50, 40, 60, -40, -60, -50])  # only the longer answers win
    0.5
    """
    target = np.asarray(wins, dtype=float)
    difference = np.asarray(longer_by, dtype=float)
    scale = float(np.sqrt(np.mean(difference**2))) or 1.0
    features = np.column_stack([np.ones_like(target), np.tanh(difference / scale)])  # (n, 2)
    weights = np.zeros(2)
    for _ in range(50):  # Newton; the problem is convex and two-dimensional
        predicted = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (predicted - target) + RIDGE * weights
        curvature = features.T @ (features * (predicted * (1 - predicted))[:, None]) + RIDGE * np.eye(2)
        weights = weights - np.linalg.solve(curvature, gradient)
    return round(float(1 / (1 + np.exp(-weights[0]))), 4)
