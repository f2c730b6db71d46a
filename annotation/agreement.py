"""How far people agree: coefficients with intervals, on arrays. Pure: numpy and the package `krippendorff`, no Django.

The unit is an unordered pair of candidates of one task; a verdict on it is FIRST (the candidate with the lower id, that
is the one that came first in the file), TIE or SECOND. Only units with two or more verdicts can show agreement.

Intervals are 95 % and treat the task as the unit of chance, since the pairs of one ranking hang together:
- raw: Wilson's interval at the effective number of pairs that the spread between tasks leaves. It stays honest near
  100 %, where a bootstrap of few tasks would claim [1, 1], and needs no random numbers.
- alpha and tau-b: percentiles of 1,000 bootstrap resamples of tasks, always with the same seed.

A statistic that cannot be computed is None, and `undefined` says why; it is never 0, 1 or NaN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import numpy.typing as npt

from annotation.comparisons import Tiers, verdicts


def gettext_noop(text: str) -> str:
    """Mark a reason for the translators; the pages that show it translate it."""
    return text


class Reason(str):
    """A reason with its figures filled in; pages translate `template` and fill them in again."""

    template: str
    figures: dict[str, int]

    def __new__(cls, template: str, **figures: int) -> Reason:
        reason = super().__new__(cls, template % figures)
        reason.template, reason.figures = template, figures
        return reason


FIRST, TIE, SECOND = 0, 1, 2
RESAMPLES = 1000
NO_OVERLAP = gettext_noop("Nobody's work overlaps, so agreement cannot be measured.")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = list[float] | None
Undefined = dict[str, str]


@dataclass(frozen=True)
class Judgement:
    """One person's judgement of one task; tiers and unranked hold candidate ids."""

    task: int
    annotator: str
    tiers: Tiers | None
    unranked: Sequence[int] = ()
    all_bad: bool = False


@dataclass(frozen=True)
class Verdicts:
    """Every verdict of every person. Arrays of one length (v), except `pairs`, which is by unit (u)."""

    unit: Ints  # (v,)
    annotator: Ints  # (v,) index into `annotators`
    verdict: Ints  # (v,) FIRST, TIE or SECOND
    task: Ints  # (u,) number of the unit's task
    pairs: Ints  # (u, 2) candidate ids, the lower first
    annotators: list[str]  # sorted

    @property
    def counts(self) -> Ints:
        """(u, 3) how many gave each verdict."""
        return np.bincount(self.unit * 3 + self.verdict, minlength=3 * len(self.task)).reshape(-1, 3)


@dataclass(frozen=True)
class VerdictPairs:
    """Two people's verdicts on one unit, for every unit and every two people who judged it. Arrays of one length."""

    task: Ints
    a: Ints  # annotator, a < b
    b: Ints
    by_a: Ints  # verdict
    by_b: Ints


def measure(judgements: Iterable[Judgement], models: Mapping[int, str]) -> dict[str, Any]:
    """All of `agreement --json`; `models` gives the model of each candidate id, "" or nothing where it is unknown."""
    judgements = list(judgements)
    table = collect(judgements)
    shared = pair_up(table)
    counts = table.counts
    per_task = Counter(judgement.task for judgement in judgements)
    undefined: Undefined = {}
    pairwise = {
        "units": int((counts.sum(axis=1) >= 2).sum()),
        **raw_agreement(counts, table.task, undefined),
        **alphas(counts, table.task, undefined),
        "fleiss_kappa": fleiss_kappa(counts, undefined),
        "cohen_kappa": cohen_kappas(shared, table.annotators, undefined),
        "bradley_terry": bradley_terry_of_models(table, models, undefined),
    }
    return {
        "rankings": len(judgements),
        "tasks": len(per_task),
        "annotators": len({judgement.annotator for judgement in judgements}),
        "multi_annotated_tasks": sum(number > 1 for number in per_task.values()),
        "comparisons": int((table.verdict != TIE).sum()),
        "ties": int((table.verdict == TIE).sum()),
        "all_bad": sum(judgement.all_bad for judgement in judgements),
        "pairwise": pairwise,
        "rankings_tau_b": mean_tau_b(shared, undefined),
        "kendall_w": mean_kendall_w(judgements, undefined),
        "undefined": undefined,
    }


def collect(judgements: Iterable[Judgement]) -> Verdicts:
    units: dict[tuple[int, int, int], int] = {}
    rows: list[tuple[int, str, int]] = []
    for judgement in judgements:
        for i, j, verdict in verdicts(judgement.tiers, judgement.unranked, judgement.all_bad):
            unit = units.setdefault((judgement.task, i, j), len(units))
            rows.append((unit, judgement.annotator, 1 - verdict))
    annotators = sorted({annotator for _unit, annotator, _verdict in rows})
    number = {annotator: n for n, annotator in enumerate(annotators)}
    table = np.array([(unit, number[annotator], verdict) for unit, annotator, verdict in rows], np.int64).reshape(-1, 3)
    keys = np.array(list(units), np.int64).reshape(-1, 3)
    return Verdicts(table[:, 0], table[:, 1], table[:, 2], keys[:, 0], keys[:, 1:], annotators)


def pair_up(table: Verdicts) -> VerdictPairs:
    order = np.argsort(table.unit, kind="stable")
    _units, sizes = np.unique(table.unit, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    left, right = [], []
    for size in np.unique(sizes[sizes >= 2]):  # units with as many verdicts at once
        rows = starts[sizes == size][:, None] + np.arange(size)
        for one, other in combinations(range(size), 2):
            left.append(order[rows[:, one]])
            right.append(order[rows[:, other]])
    x = np.concatenate(left) if left else np.zeros(0, np.int64)
    y = np.concatenate(right) if right else np.zeros(0, np.int64)
    swap = table.annotator[x] > table.annotator[y]
    x, y = np.where(swap, y, x), np.where(swap, x, y)
    return VerdictPairs(
        table.task[table.unit[x]], table.annotator[x], table.annotator[y], table.verdict[x], table.verdict[y]
    )


def raw_agreement(counts: Ints, tasks: Ints, undefined: Undefined) -> dict[str, Any]:
    """The mean over units of the share of agreeing pairs of verdicts."""
    judges = counts.sum(axis=1)
    counts, tasks, judges = counts[judges >= 2], tasks[judges >= 2], judges[judges >= 2]
    if not len(counts):
        undefined["pairwise.raw"] = undefined["pairwise.raw_ci"] = NO_OVERLAP
        return {"raw": None, "raw_ci": None}
    shares = (counts * (counts - 1)).sum(axis=1) / (judges * (judges - 1))
    interval = _clustered_wilson(shares, tasks, most=float((judges * (judges - 1) / 2).sum()))
    if interval is None:
        undefined["pairwise.raw_ci"] = gettext_noop("Only one task was judged by several people.")
    return {"raw": float(shares.mean()), "raw_ci": interval}


def alphas(counts: Ints, tasks: Ints, undefined: Undefined) -> dict[str, Any]:
    """Krippendorff's alpha, nominal and ordinal (first < tie < second), over units with two or more verdicts."""
    enough = counts.sum(axis=1) >= 2
    counts, tasks = counts[enough], tasks[enough]
    found: dict[str, Any] = {}
    coincidences = _sum_by(tasks, _coincidences(counts).reshape(-1, 9))
    for level in ("nominal", "ordinal"):
        name = f"alpha_{level}"
        found[name] = found[f"{name}_ci"] = None
        if not len(counts):
            reason = NO_OVERLAP
        elif (counts.sum(axis=0) > 0).sum() < 2:
            reason = gettext_noop("All verdicts are the same, so chance cannot be told from agreement.")
        else:
            found[name] = float(krippendorff.alpha(value_counts=counts, level_of_measurement=level))
            found[f"{name}_ci"] = _bootstrap(coincidences, partial(_alpha, level=level))
            reason = gettext_noop("The tasks are too few or too much alike to resample.")
        for key in (name, f"{name}_ci"):
            if found[key] is None:
                undefined[f"pairwise.{key}"] = reason
    return found


def fleiss_kappa(counts: Ints, undefined: Undefined, name: str = "pairwise.fleiss_kappa") -> float | None:
    """Fleiss' kappa; (u, categories) counts with the same number of judges on each unit."""
    judges = counts.sum(axis=1)
    if not len(counts) or judges.max() < 2:
        undefined[name] = NO_OVERLAP
        return None
    if judges.min() != judges.max():
        template = gettext_noop("Pairs have %(least)d to %(most)d verdicts; Fleiss needs the same number on each.")
        undefined[name] = Reason(template, least=int(judges.min()), most=int(judges.max()))
        return None
    m = judges[0]
    observed = ((counts * (counts - 1)).sum(axis=1) / (m * (m - 1))).mean()
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    if chance >= 1:
        undefined[name] = gettext_noop("All verdicts are the same, so chance cannot be told from agreement.")
        return None
    return float((observed - chance) / (1 - chance))


def cohen_kappas(shared: VerdictPairs, annotators: list[str], undefined: Undefined) -> dict[str, float | None] | None:
    """Cohen's kappa of every two people who judged a unit both, by "a|b"."""
    if not len(shared.a):
        undefined["pairwise.cohen_kappa"] = NO_OVERLAP
        return None
    couples, couple = np.unique(shared.a * len(annotators) + shared.b, return_inverse=True)
    cells = np.bincount(couple * 9 + shared.by_a * 3 + shared.by_b, minlength=9 * len(couples)).reshape(-1, 3, 3)
    kappas = {
        f"{annotators[number // len(annotators)]}|{annotators[number % len(annotators)]}": cohen_kappa(table)
        for number, table in zip(couples.tolist(), cells, strict=True)
    }
    if None in kappas.values():
        undefined["pairwise.cohen_kappa"] = gettext_noop(
            "Undefined where both people gave one and the same verdict on all that they share."
        )
    return kappas


def cohen_kappa(table: npt.ArrayLike) -> float | None:
    """Cohen's kappa of a square table of counts; None where both people always gave one same verdict.

    >>> cohen_kappa([[20, 5], [10, 15]])
    0.4
    """
    cells = np.asarray(table, np.float64)
    cells = cells / cells.sum()
    observed, chance = float(np.trace(cells)), float(cells.sum(axis=0) @ cells.sum(axis=1))
    return None if chance > 1 - 1e-12 else round((observed - chance) / (1 - chance), 12)


def bradley_terry_of_models(
    table: Verdicts, models: Mapping[int, str], undefined: Undefined
) -> dict[str, float] | None:
    """Each model's share of strength, a tie counting as half a win for both; the shares sum to one."""
    name = "pairwise.bradley_terry"
    names = sorted({models.get(int(candidate), "") for candidate in np.unique(table.pairs)} - {""})
    if len(names) < 2:
        undefined[name] = gettext_noop("Fewer than two named models were compared.")
        return None
    number = {model: n for n, model in enumerate(names)}
    wrote = np.array([[number.get(models.get(int(c), ""), -1) for c in pair] for pair in table.pairs])
    first, second = wrote[table.unit].T
    use = (first >= 0) & (second >= 0) & (first != second)
    won = (SECOND - table.verdict) / 2  # by the first: 1, a half, 0
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, (first[use], second[use]), won[use])
    np.add.at(wins, (second[use], first[use]), 1 - won[use])
    shares = bradley_terry(wins)
    if shares is None:
        undefined[name] = gettext_noop(
            "Some models never lost or never met the others, so their strength has no bound."
        )
        return None
    return dict(sorted(zip(names, shares.tolist(), strict=True), key=lambda item: -item[1]))


def bradley_terry(wins: npt.ArrayLike) -> Floats | None:
    """Maximum-likelihood strengths from wins[i, j] (i over j), summing to one; None where they have no bound.

    >>> bradley_terry([[0, 3], [1, 0]]).tolist()
    [0.75, 0.25]
    """
    w = np.array(wins, np.float64)
    if not _strongly_connected(w > 0):
        return None
    strength = np.ones(len(w))
    for _round in range(10_000):  # Newman (2023), Efficient computation of rankings from pairwise comparisons, eq. 27
        before = strength.copy()
        for i in range(len(w)):
            total = strength[i] + strength
            strength[i] = (w[i] * strength / total).sum() / (w[:, i] / total).sum()
        strength /= np.exp(np.log(strength).mean())
        if np.abs(np.log(strength / before)).max() < 1e-13:
            break
    shares: Floats = np.round(strength / strength.sum(), 12)
    return shares


def mean_tau_b(shared: VerdictPairs, undefined: Undefined) -> dict[str, Any]:
    """Kendall's tau-b of two people's rankings of one task, over the pairs that both judged; its mean over those
    where it is defined (neither tied everything)."""
    found: dict[str, Any] = {"mean": None, "ci": None, "pairs": 0}
    reason = NO_OVERLAP
    if len(shared.a):
        people = int(shared.b.max()) + 1
        _keys, group = np.unique((shared.task * people + shared.a) * people + shared.b, return_inverse=True)
        task = np.zeros(group.max() + 1, np.int64)
        task[group] = shared.task
        x, y = 1.0 - shared.by_a, 1.0 - shared.by_b  # 1 first, 0 tie, -1 second
        both, xx, yy = (np.bincount(group, weights=values) for values in (x * y, x * x, y * y))
        defined = (xx > 0) & (yy > 0)
        taus = both[defined] / np.sqrt(xx[defined] * yy[defined])
        reason = gettext_noop("Wherever two people ranked the same task, one of them tied everything.")
        if len(taus):
            found["mean"], found["pairs"] = float(taus.mean()), len(taus)
            sums = _sum_by(task[defined], np.stack([taus, np.ones(len(taus))], axis=1))
            found["ci"] = _bootstrap(sums, lambda sums: sums[:, 0] / sums[:, 1])
            reason = gettext_noop("The tasks are too few or too much alike to resample.")
    undefined.update({f"rankings_tau_b.{key}": reason for key in ("mean", "ci") if found[key] is None})
    return found


def mean_kendall_w(judgements: Iterable[Judgement], undefined: Undefined) -> dict[str, Any]:
    """The mean over tasks of Kendall's W, corrected for ties. Rankings that leave two or more unranked have no ranks
    for them and stay out."""
    by_task: dict[int, list[list[float]]] = defaultdict(list)
    for judgement in judgements:
        if judgement.tiers and not judgement.all_bad and len(judgement.unranked) < 2:
            by_task[judgement.task].append(
                _ranks([*judgement.tiers, *([judgement.unranked] if judgement.unranked else [])])
            )
    several = [ranks for ranks in by_task.values() if len(ranks) > 1]
    defined = [w for ranks in several if (w := kendall_w(ranks)) is not None]
    if not defined:
        undefined["kendall_w.mean"] = gettext_noop("Everyone tied everything.") if several else NO_OVERLAP
    return {"mean": float(np.mean(defined)) if defined else None, "items": len(defined)}


def kendall_w(ranks: Sequence[Sequence[float]]) -> float | None:
    """Kendall's W of m people's ranks of n things, corrected for ties; None where everyone tied everything.

    >>> kendall_w([[1, 2, 3], [1, 2, 3], [1, 2, 3]]), kendall_w([[2, 2, 2], [2, 2, 2]])
    (1.0, None)
    """
    m, n = len(ranks), len(ranks[0])
    sums = [sum(column) for column in zip(*ranks, strict=True)]
    spread = sum((total - m * (n + 1) / 2) ** 2 for total in sums)
    ties = sum(t**3 - t for person in ranks for t in Counter(person).values())
    greatest = m**2 * (n**3 - n) - m * ties
    return 12 * spread / greatest if greatest else None


def agreement_by_annotator(shared: VerdictPairs, annotators: list[str]) -> dict[str, tuple[float, Interval, int]]:
    """Of each person's verdicts beside another's on the same unit: the share that agree, its interval, their number."""
    who = np.concatenate([shared.a, shared.b])
    order = np.argsort(who, kind="stable")
    agree = np.tile(shared.by_a == shared.by_b, 2).astype(np.float64)[order]
    task = np.tile(shared.task, 2)[order]
    ends = np.bincount(who, minlength=len(annotators)).cumsum()
    rows = zip(annotators, np.split(agree, ends[:-1]), np.split(task, ends[:-1]), strict=True) if len(who) else ()
    return {name: (float(a.mean()), _clustered_wilson(a, t, most=len(a)), len(a)) for name, a, t in rows if len(a)}


def _ranks(tiers: Tiers) -> list[float]:
    """Mean ranks in the order of the candidates' ids.

    >>> _ranks([[7], [5, 6]])
    [2.5, 2.5, 1.0]
    """
    ranks: dict[int, float] = {}
    for tier in tiers:
        rank = len(ranks) + (len(tier) + 1) / 2
        ranks.update((candidate, rank) for candidate in tier)
    return [ranks[candidate] for candidate in sorted(ranks)]


def _coincidences(counts: Ints) -> Floats:
    """(u, 3, 3): Krippendorff's coincidences of each unit; they add up, so resamples need only sums."""
    judges = counts.sum(axis=1)[:, None, None]
    pairs = counts[:, :, None] * counts[:, None, :] - np.eye(3) * counts[:, :, None]
    coincidences: Floats = pairs / (judges - 1)
    return coincidences


def _alpha(coincidences: Floats, level: str) -> Floats:
    """Alpha of each of (b, 9) coincidence tables, flattened; NaN where one value alone occurs."""
    coincidences = coincidences.reshape(-1, 3, 3)
    totals = coincidences.sum(axis=2)  # (b, 3)
    n = totals.sum(axis=1)
    between = np.zeros_like(coincidences)  # distance of two values
    for c, k in combinations(range(3), 2):
        distance = (
            (totals[:, c : k + 1].sum(axis=1) - (totals[:, c] + totals[:, k]) / 2) ** 2 if level == "ordinal" else 1
        )
        between[:, c, k] = between[:, k, c] = distance
    observed = (coincidences * between).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * between).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha: Floats = 1 - (n - 1) * observed / expected
    return alpha


def _sum_by(groups: Ints, values: Floats) -> Floats:
    """(g, k): the rows of values (n, k) summed within each group."""
    _names, group = np.unique(groups, return_inverse=True)
    if not len(values):
        return values
    return np.stack([np.bincount(group, weights=column) for column in values.T], axis=1)


def _bootstrap(sums: Floats, statistic: Callable[[Floats], Floats]) -> Interval:
    """95 % of the statistic over resampled tasks, from sums (tasks, k) per task; None where resamples do not vary."""
    tasks = len(sums)
    if tasks < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = np.stack([np.bincount(rng.integers(tasks, size=tasks), minlength=tasks) @ sums for _ in range(RESAMPLES)])
    values = statistic(drawn)
    values = values[np.isfinite(values)]
    if len(values) < RESAMPLES / 2 or np.ptp(values) < 1e-12:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def _clustered_wilson(shares: Floats, tasks: Ints, *, most: float, z: float = 1.96) -> Interval:
    """Wilson's interval for a mean of shares, at the number of independent pairs that would vary as much.

    `most` is the number of pairs of verdicts there are: a few tasks that happen to be alike prove no more than that.
    """
    p = float(shares.mean())
    residuals = _sum_by(tasks, (shares - p)[:, None])[:, 0]
    clusters = len(residuals)
    if clusters < 2:
        return None
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / len(shares) ** 2
    n = min(p * (1 - p) / variance, most) if variance > 1e-15 else clusters
    centre, spread = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = float((centre - spread) / (1 + z**2 / n)), float((centre + spread) / (1 + z**2 / n))
    return [max(low, 0.0), min(high, 1.0)]


def _strongly_connected(beats: npt.NDArray[np.bool_]) -> bool:
    """Whether everyone beats everyone else at least through others: only then has Bradley-Terry a maximum."""
    reach = beats | np.eye(len(beats), dtype=bool)
    for _step in range(max(1, int(np.ceil(np.log2(len(beats)))))):
        reach = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    return bool(reach.all())
