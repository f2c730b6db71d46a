"""Properties that hold for every judgement, and numbers worked out by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from annotation.comparisons import Tiers, aggregate, ordered_pairs, verdicts


@dataclass(frozen=True)
class Judgement:
    """One person's judgement of one task, outside the database."""

    id: int
    tiers: Tiers | None
    unranked: Sequence[int] = ()
    all_bad: bool = False
    strength: int | None = None


@st.composite
def judgements(draw, *, number=1):
    """Judgements of the same 2 to 9 candidates: tiers in any shape, and some candidates unranked."""
    candidates = draw(st.lists(st.integers(1, 500), min_size=2, max_size=9, unique=True))
    made = []
    for id_ in range(number):
        order = draw(st.permutations(candidates))
        places = [draw(st.integers(0, 4)) for _ in order]
        tiers = [[c for c, place in zip(order, places, strict=True) if place == n] for n in range(4)]
        unranked = [c for c, place in zip(order, places, strict=True) if place == 4]
        made.append(Judgement(id_, [tier for tier in tiers if tier], unranked, draw(st.integers(0, 9)) == 0))
    return made


@given(judgements())
def test_every_pair_is_won_tied_or_both_unranked(made):
    (judgement,) = made
    candidates = [c for tier in judgement.tiers for c in tier] + list(judgement.unranked)
    won = ordered_pairs(judgement.tiers, judgement.unranked)
    tied = [(i, j) for i, j, verdict in verdicts(judgement.tiers, judgement.unranked) if verdict == 0]
    both_unranked = list(combinations(judgement.unranked, 2))

    if judgement.tiers:
        assert len(won) + len(tied) + len(both_unranked) == len(list(combinations(candidates, 2)))
    said = {frozenset(pair) for pair in won + tied}
    assert len(said) == len(won) + len(tied)
    assert not said & {frozenset(pair) for pair in both_unranked}


@given(judgements())
def test_better_is_transitive(made):
    (judgement,) = made
    won = set(ordered_pairs(judgement.tiers, judgement.unranked))

    assert all((a, d) in won for a, b in won for c, d in won if b == c)


@given(judgements())
def test_the_order_within_a_tier_says_nothing(made):
    (judgement,) = made
    turned = [list(reversed(tier)) for tier in judgement.tiers]

    assert set(verdicts(judgement.tiers, judgement.unranked)) == set(verdicts(turned, judgement.unranked))


@given(judgements())
def test_unranked_lose_to_every_tier(made):
    (judgement,) = made
    ranked = [c for tier in judgement.tiers for c in tier]

    assert {(a, b) for a in ranked for b in judgement.unranked} <= set(
        ordered_pairs(judgement.tiers, judgement.unranked)
    )


@given(judgements(number=5))
def test_aggregation_counts_every_vote_once(made):
    total = aggregate(made)

    votes = sum(pair.votes_for + pair.votes_against + pair.ties for pair in total)
    assert votes == sum(len(list(verdicts(j.tiers, j.unranked, j.all_bad))) for j in made)
    assert all(pair.votes_for >= pair.votes_against for pair in total)
    assert all(pair.i < pair.j for pair in total if pair.tied)


def test_all_bad_compares_nothing_even_with_ranks():
    assert aggregate([Judgement(1, [[1], [2]], all_bad=True), Judgement(2, None, all_bad=True)]) == []


def test_votes_margin_and_rankings_of_a_pair():
    """Three prefer 15, two of them saying how much (4 and 2 of 4: 0.75 on average); one prefers 12; one ties."""
    (pair,) = aggregate(
        [
            Judgement(1, [[15], [12]], strength=4),
            Judgement(2, [[15], [12]], strength=2),
            Judgement(3, [[15], [12]]),
            Judgement(4, [[12], [15]], strength=1),
            Judgement(5, [[12, 15]]),
        ]
    )

    assert (pair.i, pair.j) == (15, 12)
    assert (pair.votes_for, pair.votes_against, pair.ties) == (3, 1, 1)
    assert (pair.margin, pair.weight) == (0.75, 1.0)
    assert pair.rankings == (1, 2, 3)


def test_equal_votes_are_a_tied_pair():
    (pair,) = aggregate([Judgement(7, [[15], [12]]), Judgement(8, [[12], [15]])])

    assert pair.tied
    assert (pair.i, pair.j, pair.margin, pair.rankings) == (12, 15, 0.0, (7, 8))
