"""Agreement against worked examples of the literature, by hand, and where it is undefined."""

import time

import numpy as np
import pytest

from annotation.agreement import (
    NO_OVERLAP,
    Judgement,
    alphas,
    bradley_terry,
    cohen_kappa,
    fleiss_kappa,
    measure,
    raw_agreement,
)
from tests.annotation.published import needs_data, read


def test_two_people_worked_out_by_hand():
    """On units (1,2), (1,3), (2,3) of one task and (4,5) of another they say: > > > and >, against > > = and <."""
    report = measure(
        [
            Judgement(1, "a", [[1], [2], [3]]),
            Judgement(1, "b", [[1], [2, 3]]),
            Judgement(2, "a", [[4], [5]]),
            Judgement(2, "b", [[5], [4]]),
        ],
        models={1: "x", 2: "y", 3: "y", 4: "x", 5: "y"},
    )

    assert (report["rankings"], report["tasks"], report["annotators"], report["multi_annotated_tasks"]) == (4, 2, 2, 2)
    assert (report["comparisons"], report["ties"]) == (7, 1)
    assert report["pairwise"]["units"] == 4
    assert report["pairwise"]["raw"] == 0.5
    # chance: a says first always; b first, first, tie, second
    assert report["pairwise"]["cohen_kappa"] == {"a|b": 0.0}
    # x over y: 2 + 2 of the first task, 1 of 2 in the second
    assert report["pairwise"]["bradley_terry"] == pytest.approx({"x": 5 / 6, "y": 1 / 6})
    # task 1: 2 of 3 pairs alike, one tied by b: 2 / sqrt(3 * 2); task 2: reversed
    assert report["rankings_tau_b"]["mean"] == pytest.approx((2 / 6**0.5 - 1) / 2)
    # task 1: ranks 1 2 3 and 1 2.5 2.5, sums 2 4.5 5.5, spread 6.5; 12 * 6.5 / (4 * 24 - 2 * 6) = 0.9286; task 2: 0
    assert report["kendall_w"] == {"mean": pytest.approx(6.5 * 12 / 84 / 2), "items": 2}


def test_nobody_overlaps():
    report = measure([Judgement(1, "a", [[1], [2]]), Judgement(2, "b", [[3], [4]])], models={})

    assert report["pairwise"]["raw"] is report["pairwise"]["raw_ci"] is report["pairwise"]["alpha_nominal"] is None
    assert report["pairwise"]["cohen_kappa"] is report["rankings_tau_b"]["mean"] is report["kendall_w"]["mean"] is None
    assert report["undefined"]["pairwise.raw"] == report["undefined"]["pairwise.cohen_kappa"] == NO_OVERLAP
    _everything_null_has_a_reason(report)


@pytest.mark.parametrize(
    "judgements",
    [
        [],
        [Judgement(1, "a", None, all_bad=True), Judgement(1, "b", [[1], [2]], all_bad=True)],
        [Judgement(1, "a", [[1, 2]]), Judgement(1, "b", [[1, 2]])],  # everyone tied everything
        [Judgement(task, who, [[2 * task], [2 * task + 1]]) for task in (1, 2) for who in "ab"],  # nothing but "first"
        [Judgement(1, "a", [[1]], unranked=[2, 3]), Judgement(1, "b", [[2]], unranked=[1, 3])],
    ],
)
def test_what_cannot_be_computed_is_null_with_a_reason(judgements):
    _everything_null_has_a_reason(measure(judgements, models={1: "x", 2: "y"}))


def _everything_null_has_a_reason(report, prefix=""):
    undefined = report["undefined"]
    for group in ("pairwise", "rankings_tau_b", "kendall_w"):
        for name, value in report[group].items():
            assert (value is None) == (f"{group}.{name}" in undefined) or name == "cohen_kappa"
            assert value is None or isinstance(value, dict | list) or np.isfinite(value)


def test_perfect_agreement_of_a_few_is_not_certain():
    """A bootstrap would claim [1, 1]."""
    found = raw_agreement(np.array([[2, 0, 0], [0, 0, 2]] * 5), np.arange(10), {})

    assert found["raw"] == 1
    assert found["raw_ci"] == pytest.approx([0.722, 1], abs=0.001)


def test_an_interval_needs_two_tasks():
    undefined = {}
    found = raw_agreement(np.array([[2, 0, 0], [1, 1, 0]]), np.array([1, 1]), undefined)

    assert found == {"raw": 0.5, "raw_ci": None}
    assert "one task" in undefined["pairwise.raw_ci"]


def test_the_raw_interval_is_wilsons_where_each_task_has_one_pair():
    """30 of 40 tasks agree: Wilson gives [0.598, 0.858] for independent pairs."""
    counts = np.array([[2, 0, 0]] * 30 + [[1, 0, 1]] * 10)

    assert raw_agreement(counts, np.arange(40), {})["raw_ci"] == pytest.approx([0.598, 0.858], abs=0.003)


def test_pairs_of_one_task_count_less_than_pairs_of_many():
    counts = np.array([[2, 0, 0]] * 60 + [[1, 0, 1]] * 40)
    apart = raw_agreement(counts, np.arange(100), {})["raw_ci"]
    together = raw_agreement(counts, np.arange(100) // 10, {})["raw_ci"]

    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_tasks_that_happen_to_be_alike_prove_no_more_than_their_pairs():
    """5, 5 and 4 of 6 pairs agree: Wilson gives [0.548, 0.910] for 18 independent pairs, and it may not be narrower."""
    counts = np.array([[2, 0, 0]] * 5 + [[1, 0, 1]] + [[2, 0, 0]] * 5 + [[1, 0, 1]] + [[2, 0, 0]] * 4 + [[1, 0, 1]] * 2)

    assert raw_agreement(counts, np.arange(18) // 6, {})["raw_ci"] == pytest.approx([0.548, 0.910], abs=0.001)


def test_the_same_judgements_give_the_same_intervals():
    rng = np.random.default_rng(5)
    judgements = [
        Judgement(task, who, [[10 * task + int(n)] for n in rng.permutation(4)]) for task in range(50) for who in "ab"
    ]

    assert measure(judgements, {}) == measure(judgements, {})


def test_models_that_never_lose_have_no_share():
    report = measure([Judgement(1, "a", [[1], [2]])], models={1: "x", 2: "y"})

    assert report["pairwise"]["bradley_terry"] is None
    assert "no bound" in report["undefined"]["pairwise.bradley_terry"]


def test_20000_tasks_take_seconds():
    rng = np.random.default_rng(5)
    judgements = [
        Judgement(task, f"a{who}", [[4 * task + int(n)] for n in rng.permutation(4)])
        for task in range(20_000)
        for who in ((task % 7, 8) if task % 5 == 0 else (task % 7,))
    ]
    started = time.process_time()

    measure(judgements, models={n: f"m{n % 4}" for n in range(80_000)})

    assert time.process_time() - started < 15


# --- Published examples ----------------------------------------------------------------------------------------------


def table_of(example):
    """(units, raters) of values, None where a rating is missing."""
    rows = [row for row in read("oracles/ratings") if row["example"] == example]
    units, raters = ({row[name]: None for row in rows} for name in ("unit", "rater"))
    given = {(row["unit"], row["rater"]): row["value"] for row in rows}
    return [[given.get((unit, rater)) for rater in raters] for unit in units]


def counts_of(table):
    values = sorted({value for unit in table for value in unit if value is not None})
    return np.array([[unit.count(value) for value in values] for unit in table])


def stated(example, statistic, variant):
    (row,) = [
        row
        for row in read("oracles/ratings_expected")
        if (row["example"], row["statistic"], row["variant"]) == (example, statistic, variant)
    ]
    return pytest.approx(row["value"], abs=row["tolerance"])


@needs_data
@pytest.mark.parametrize("example", ["fleiss1971_diagnoses", "fleiss_encyclopedia_14raters"])
def test_published_fleiss_kappa(example):
    assert fleiss_kappa(counts_of(table_of(example)), {}) == stated(example, "fleiss_kappa", "overall")


@needs_data
def test_published_agreement_of_each_unit():
    for n, unit in enumerate(counts_of(table_of("fleiss_encyclopedia_14raters")), 1):
        found = raw_agreement(unit[None], np.array([1]), {})["raw"]
        assert found == stated("fleiss_encyclopedia_14raters", "pairwise_agreement", f"unit {n}")


@needs_data
def test_published_cohen_kappa():
    table = [unit for unit in table_of("sas_cohen_19") if None not in unit]
    values = sorted({value for unit in table for value in unit})
    cells = np.zeros((len(values), len(values)))
    for a, b in table:
        cells[values.index(a), values.index(b)] += 1

    assert cohen_kappa(cells) == stated("sas_cohen_19", "cohen_kappa", "unweighted")


@needs_data
def test_published_alpha_of_two_values():
    """Two values are our first and second; the example has no third."""
    counts = np.insert(counts_of(table_of("krippendorff2011_a_binary")), 1, 0, axis=1)

    found = alphas(counts, np.arange(len(counts)), {})

    assert found["alpha_nominal"] == stated("krippendorff2011_a_binary", "krippendorff_alpha", "nominal")
    assert found["alpha_nominal_ci"][0] < found["alpha_nominal"] < found["alpha_nominal_ci"][1]


@needs_data
@pytest.mark.parametrize("example", ["evalica_food", "evalica_simple"])
def test_published_bradley_terry(example):
    rows = [row for row in read("oracles/pairwise") if row["example"] == example]
    items = sorted({row[side] for row in rows for side in ("left", "right")})
    wins = np.zeros((len(items), len(items)))
    for row in rows:
        left, right, won = items.index(row["left"]), items.index(row["right"]), row["winner"]
        wins[left, right] += row["count"] * {"left": 1, "tie": 0.5, "right": 0}[won]
        wins[right, left] += row["count"] * {"left": 0, "tie": 0.5, "right": 1}[won]
    expected = {
        row["item"]: row["score"]
        for row in read("oracles/pairwise_expected")
        if (row["example"], row["algorithm"]) == (example, "bradley_terry")
    }

    found = bradley_terry(wins)

    assert dict(zip(items, found, strict=True)) == pytest.approx(expected, abs=1e-6)


@needs_data
def test_published_log_abilities_of_journals():
    rows = [row for row in read("oracles/pairwise") if row["example"] == "stigler1994_citations"]
    items = sorted({row[side] for row in rows for side in ("left", "right")})
    wins = np.zeros((4, 4))
    for row in rows:
        winner, loser = (row["left"], row["right"]) if row["winner"] == "left" else (row["right"], row["left"])
        wins[items.index(winner), items.index(loser)] += row["count"]
    log = np.log(bradley_terry(wins))

    found = dict(zip(items, log - log[items.index("Biometrika")], strict=True))

    assert found == pytest.approx(
        {row["item"]: row["score"] for row in read("oracles/pairwise_expected") if "stigler" in row["example"]},
        abs=1e-5,
    )
