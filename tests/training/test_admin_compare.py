"""Two models side by side: who may, what is shown, what a judge found and how sure that is."""

import pytest

from annotation.models import Candidate
from training.models import Evaluation, ModelVersion, Run
from training.rundir import RunFolder

PAGE = "/p/kitchen/compare/"
BOTH = f"{PAGE}?a=policy@1&b=base@1"


def win_rate(**changes: object) -> dict[str, object]:
    return {
        "kind": "win_rate", "prompts": 16, "answers": 16, "wins": 9, "ties": 1, "losses": 6, "win_rate": 0.594,
        "win_rate_ci": [0.355, 0.801], "length_controlled": 0.561, "verdict": "no difference shown",
        "mean_tokens": {"policy@1": 122.4, "base@1": 141.9}, "prompts_left_out": 24,
        "judge_trained_on": [{"method": "reward", "model": "base@1", "pairs": 1204, "tasks": 251}], **changes,
    }  # fmt: skip


@pytest.fixture
def client(client, engineer):
    client.force_login(engineer.user)
    return client


@pytest.fixture
def models(project) -> dict[str, ModelVersion]:
    run = Run.objects.create(name="p", method="dpo", config={}, project=project, state="succeeded")
    kinds = {"base": ("base", None), "policy": ("policy", run), "rm": ("reward", None)}
    return {
        name: ModelVersion.objects.create(name=name, version=1, kind=kind, run=run, folder=name, checksum="c")
        for name, (kind, run) in kinds.items()
    }


@pytest.fixture
def compared(project, models, make_task) -> Run:
    prompt = make_task("How long do eggs keep?").prompt
    run = Run.objects.create(name="c", method="evaluate", config={}, project=project, state="succeeded")
    rows = [
        {"prompt_id": prompt.pk, "model": name, "text": text, "score": score, "tokens": 9, "cut": False}
        for name, text, score in (("policy@1", "**Five** weeks", 1.31), ("base@1", "<script>x</script> eggs", 0.42))
    ]
    RunFolder(run.folder).write_part(rows)
    Evaluation.objects.create(
        run=run, model=models["policy"], baseline=models["base"], judge=models["rm"], result=win_rate()
    )
    return run


def test_no_difference_shown_is_a_verdict(client, compared):
    shown = client.get(BOTH).content.decode()

    assert "rm@1 shows no difference: policy@1 wins 59\xa0% [36, 80] against base@1 over 16 prompts." in shown
    assert "no difference shown" in shown
    assert "56\xa0%" in shown  # at equal length
    assert "was trained on 1,204 comparisons of 251 tasks" in shown
    assert "24 prompts were left out" in shown
    assert "Only 16 prompts: far too few" in shown


@pytest.mark.parametrize(("verdict", "words"), [("better", "finds policy@1 better"), ("worse", "finds policy@1 worse")])
def test_a_difference_that_is_shown(client, compared, verdict, words):
    Evaluation.objects.update(result=win_rate(verdict=verdict))

    assert words in client.get(BOTH).content.decode()


def test_answers_stand_beside_each_other_and_are_harmless(client, compared):
    shown = client.get(BOTH).content.decode()

    assert "<strong>Five</strong> weeks" in shown
    assert "<script>x" not in shown and "&lt;script&gt;x" in shown
    assert shown.index("Five") < shown.index("&lt;script&gt;")
    turned = client.get(f"{PAGE}?a=base@1&b=policy@1").content.decode()
    assert turned.index("&lt;script&gt;") < turned.index("Five")


def test_without_a_judge_the_projects_own_answers_are_shown(client, models, make_task):
    task = make_task("How long do eggs keep?", ())
    for name in ("base@1", "policy@1"):
        Candidate.objects.create(task=task, text=f"So says {name}", model_name=name)
    make_task("Only one answered", ())

    shown = client.get(BOTH).content.decode()

    assert "No judge has compared policy@1 with base@1 yet." in shown
    assert "So says base@1" in shown and "So says policy@1" in shown
    assert "Only one answered" not in shown


def test_a_comparison_is_queued_once_asked_for(client, engineer, models):
    response = client.post(BOTH, {"judge": "rm@1", "max_new_tokens": 64})

    run = Run.objects.get(method="evaluate")
    assert response.status_code == 302
    assert {k: run.config[k] for k in ("model", "baseline", "judge", "max_new_tokens")} == {
        "model": "policy@1", "baseline": "base@1", "judge": "rm@1", "max_new_tokens": 64,
    }  # fmt: skip
    assert (run.project, run.created_by) == (engineer.project, engineer.user)
    shown = client.get(BOTH).content.decode()
    assert "A comparison is under way." in shown and "No worker is running. Start one:" in shown


def test_what_cannot_be_compared(client, models):
    assert "Choose two different models." in client.get(f"{PAGE}?a=base@1&b=base@1").content.decode()
    assert "Select a valid choice." in client.get(f"{PAGE}?a=base@1&b=ghost@x").content.decode()
    assert client.post(BOTH, {"judge": "rm@9", "max_new_tokens": 64}).status_code == 422
    ModelVersion.objects.filter(kind="reward").delete()
    assert "needs a reward model as its judge" in client.get(BOTH).content.decode()
    ModelVersion.objects.filter(name="policy").delete()
    assert "There are not two models yet" in client.get(PAGE).content.decode()


def test_only_engineers_of_the_project(client, annotator, manager, stranger, make_member, models):
    for user in (annotator.user, manager.user, stranger):
        client.force_login(user)
        assert client.get(BOTH).status_code == 404
        assert client.post(BOTH, {"judge": "rm@1", "max_new_tokens": 64}).status_code == 404
    assert not Run.objects.filter(method="evaluate").exists()


def test_the_page_costs_the_same_however_much_was_compared(client, compared, make_task, django_assert_max_num_queries):
    names = ("policy@1", "base@1")
    for number in range(30):
        prompt = make_task(f"Question {number}?").prompt
        rows = [
            {"prompt_id": prompt.pk, "model": n, "text": "x", "score": 0.0, "tokens": 1, "cut": False} for n in names
        ]
        RunFolder(compared.folder).write_part(rows)

    with django_assert_max_num_queries(16):
        shown = client.get(BOTH).content.decode()
    assert "Page 1 of 4" in shown
