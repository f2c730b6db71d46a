"""Tiers to comparisons: what one judgement says about each pair of its candidates, and what several say together.

Pure: no Django, no numpy. Comparisons are derived when read and never stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

Tiers = Sequence[Sequence[int]]
STRENGTHS = 4  # 1 negligibly .. 4 significantly


class Judged(Protocol):
    """What of a ranking the comparisons need; a row of the database has it, and so has one of a snapshot."""

    @property
    def id(self) -> int: ...
    @property
    def tiers(self) -> Any: ...
    @property
    def unranked(self) -> Any: ...
    @property
    def all_bad(self) -> bool: ...
    @property
    def strength(self) -> int | None: ...


@dataclass(frozen=True)
class Comparison:
    """What the judgements of a task say about two candidates: most voters prefer `i`. At equal votes i < j."""

    i: int
    j: int
    votes_for: int
    votes_against: int
    ties: int
    margin: float  # mean strength of the votes for i, as a share of the greatest; 1 where none was stated
    weight: float = 1.0  # of its voters; all weigh alike
    rankings: tuple[int, ...] = ()  # those that prefer i; for a tied pair all that judged it

    @property
    def tied(self) -> bool:
        return self.votes_for == self.votes_against


def verdicts(
    tiers: Tiers | None, unranked: Sequence[int] = (), all_bad: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Each judged pair (i, j) with i < j, and +1 where i is better, -1 where j is, 0 for a tie.

    Unranked candidates are worse than every tier and unjudged among themselves. All bad compares nothing, even
    where ranks were given.

    >>> list(verdicts([[12], [15, 13]], unranked=[14]))
    [(12, 15, 1), (12, 13, 1), (12, 14, 1), (13, 15, 0), (14, 15, -1), (13, 14, 1)]
    """
    if all_bad or not tiers:
        return
    place = {candidate: n for n, tier in enumerate(tiers) for candidate in tier}
    last = len(tiers)
    place.update((candidate, last) for candidate in unranked)
    for a, b in combinations(place, 2):
        if place[a] == place[b] == last:
            continue
        i, j = (a, b) if a < b else (b, a)
        yield i, j, (place[i] < place[j]) - (place[i] > place[j])


def ordered_pairs(tiers: Tiers | None, unranked: Sequence[int] = (), all_bad: bool = False) -> list[tuple[int, int]]:
    """(better, worse) for every pair with a winner.

    >>> ordered_pairs([[2], [0, 1]])
    [(2, 0), (2, 1)]
    """
    return [(i, j) if v > 0 else (j, i) for i, j, v in verdicts(tiers, unranked, all_bad) if v]


def aggregate(rankings: Iterable[Judged]) -> list[Comparison]:
    """One Comparison for every pair that someone judged, in the order of the candidates' ids."""
    votes: dict[tuple[int, int], dict[int, list[Judged]]] = defaultdict(lambda: {1: [], 0: [], -1: []})
    for ranking in rankings:
        for i, j, verdict in verdicts(ranking.tiers, ranking.unranked, ranking.all_bad):
            votes[i, j][verdict].append(ranking)
    return [_comparison(i, j, votes[i, j]) for i, j in sorted(votes)]


def _comparison(i: int, j: int, votes: dict[int, list[Judged]]) -> Comparison:
    first, ties, second = votes[1], votes[0], votes[-1]
    if len(second) > len(first):
        i, j, first, second = j, i, second, first
    tied = len(first) == len(second)
    behind = first + ties + second if tied else first
    return Comparison(
        i=i,
        j=j,
        votes_for=len(first),
        votes_against=len(second),
        ties=len(ties),
        margin=0.0 if tied else margin_of(first),
        rankings=tuple(sorted(ranking.id for ranking in behind)),
    )


def margin_of(rankings: Sequence[Judged]) -> float:
    """How clearly they prefer: the mean of the strengths they state, 1/4 negligibly to 1 significantly.

    Where nobody states one it is 1, so that plain rankings all count the same.
    """
    stated = [ranking.strength / STRENGTHS for ranking in rankings if ranking.strength]
    return round(sum(stated) / len(stated), 6) if stated else 1.0
