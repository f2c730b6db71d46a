"""Shares, intervals and win rates mean what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.recipes.algorithms.intervals import share
from training.recipes.algorithms.winrates import length_controlled, verdict

shares = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 30)), min_size=1, max_size=60)


@given(shares)
def test_an_interval_holds_its_mean_and_stays_a_share(observed):
    mean, low, high = share([value for value, _ in observed], [prompt for _, prompt in observed])
    assert 0 <= low <= mean <= high <= 1


@given(shares)
def test_losses_mirror_wins(observed):
    prompts = [prompt for _, prompt in observed]
    mean, low, high = share([value for value, _ in observed], prompts)
    assert share([1 - value for value, _ in observed], prompts)[0] == pytest.approx(1 - mean, abs=1e-4)
    assert verdict(1 - high, 1 - low) == {"better": "worse", "worse": "better"}.get(
        verdict(low, high), verdict(low, high)
    )


def test_many_answers_to_a_prompt_are_one_observation():
    wins = [1, 0] * 30
    independent = share(wins, list(range(60)))
    repeated = share([value for value in wins for _ in range(10)], [n for n in range(60) for _ in range(10)])
    assert repeated == independent


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        truth = rng.beta(6, 4, size=40)  # each prompt has its own chance to win
        wins = rng.random((40, 3)) < truth[:, None]
        _, low, high = share(wins.ravel().tolist(), np.repeat(range(40), 3).tolist())
        covered += low <= 0.6 <= high
    assert covered >= 180


def test_a_win_by_length_alone_is_no_win():
    rng = np.random.default_rng(2)
    longer = rng.normal(40, 40, 400)
    wins = (longer > 0).astype(float)
    assert wins.mean() > 0.8
    assert length_controlled(wins, longer) == pytest.approx(0.5, abs=0.1)  # the steep step is only roughly a logistic


def test_without_a_difference_of_length_the_rate_stays():
    wins = [1.0] * 70 + [0.0] * 30
    assert length_controlled(wins, [0] * 100) == pytest.approx(0.7, abs=0.01)
