"""The figures that other tools and papers state for public data, through the real import."""

import pytest

from annotation.imports import import_rankings
from annotation.quality import project_agreement
from tests.annotation.published import expected, llmfao_rankings, needs_data, pandalm_rankings, rankme_rankings

pytestmark = [needs_data, pytest.mark.django_db]


def test_pandalm(project):
    stated = expected("preferences/pandalm")

    report = import_rankings(project, pandalm_rankings())
    found = project_agreement(project)

    assert (report.tasks, report.rankings, report.duplicates) == (523, 1569, [])
    assert (found["rankings"], found["tasks"], found["annotators"], found["multi_annotated_tasks"]) == (
        1569,
        523,
        3,
        523,
    )
    pairwise = found["pairwise"]
    for a, b in ((1, 2), (1, 3), (2, 3)):
        assert pairwise["cohen_kappa"][f"a{a}|a{b}"] == stated["cohen_kappa", f"annotator{a}-annotator{b}"]
    assert pairwise["fleiss_kappa"] == stated["fleiss_kappa", "3 labels"]
    assert pairwise["alpha_nominal"] == stated["krippendorff_alpha", "nominal"]
    assert pairwise["alpha_ordinal"] == stated["krippendorff_alpha", "ordinal 1<tie<2"]
    assert pairwise["raw_ci"][0] < pairwise["raw"] < pairwise["raw_ci"][1]
    assert pairwise["alpha_nominal_ci"][0] < pairwise["alpha_nominal"] < pairwise["alpha_nominal_ci"][1]
    assert found["undefined"] == {}


def test_llmfao(project):
    stated = expected("preferences/llmfao")

    report = import_rankings(project, llmfao_rankings())
    found = project_agreement(project)

    assert report.rankings == stated["rows", "human"]
    assert found["tasks"] == stated["pairs", "human"]
    assert found["annotators"] == stated["annotators", "human"]
    pairwise = found["pairwise"]
    assert pairwise["alpha_nominal"] == stated["krippendorff_alpha", "nominal, human votes"]
    assert pairwise["alpha_ordinal"] == stated["krippendorff_alpha", "ordinal left<tie<right, human votes"]
    assert pairwise["raw"] == stated["mean_pairwise_agreement", "pairs with 2 or more human votes"]
    assert pairwise["fleiss_kappa"] is None
    assert "1 to 5 verdicts" in found["undefined"]["pairwise.fleiss_kappa"]
    shares = {
        variant.partition(" (")[0]: value for (statistic, variant), value in stated.items() if "bradley" in statistic
    }
    assert len(shares) == 5
    assert {model: pairwise["bradley_terry"][model] for model in shares} == shares
    assert list(pairwise["bradley_terry"])[:5] == list(shares)
    assert sum(pairwise["bradley_terry"].values()) == pytest.approx(1)


@pytest.mark.parametrize("setup", ["setup1", "setup2"])
@pytest.mark.parametrize("criterion", ["informativeness", "naturalness", "quality"])
def test_rankme(project, setup, criterion):
    stated = expected("rankings/rankme")
    name = f"{setup} {criterion}"

    import_rankings(project, rankme_rankings(setup, criterion))
    found = project_agreement(project)

    assert found["kendall_w"]["mean"] == stated["mean_kendall_w_tie_corrected", f"{name}, items where defined"]
    for system in ("baseline", "sheffield_v2", "slug2slug"):
        stated_share = stated["bradley_terry_share", f"{name}: {system} (pairs from scores, tie = half a win each)"]
        assert found["pairwise"]["bradley_terry"][system] == stated_share
    assert found["rankings_tau_b"]["ci"][0] < found["rankings_tau_b"]["mean"] < found["rankings_tau_b"]["ci"][1]
