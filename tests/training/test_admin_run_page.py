"""The page of a run in each of its states: what it says, what it offers, and how it refreshes itself."""

from datetime import timedelta

import pytest
from django.utils import timezone

from training.models import Dataset, Evaluation, Metric, ModelVersion, Run, Worker
from training.rundir import RunFolder
from training.standing import badge, standing

NOW = timezone.now()


@pytest.fixture
def client(client, engineer):
    client.force_login(engineer.user)
    return client


@pytest.fixture
def make_run(project, engineer):
    def make(state: str = "queued", **fields: object) -> Run:
        config = {"model": "base@1", "epochs": 3, "device": "cpu"}
        defaults = {"name": "kitchen-reward", "method": "reward", "config": config, "project": project, "state": state}
        if state == "running":
            defaults |= {
                "worker": "w", "slot": f"here {Run.objects.count()}", "attempts": 1, "total_steps": 60,
                "started_at": NOW - timedelta(minutes=2), "progressed_at": NOW, "heartbeat_at": NOW,
            }  # fmt: skip
        return Run.objects.create(**{**defaults, **fields})

    return make


@pytest.fixture
def worker(db) -> Worker:
    return Worker.objects.create(name="w", device="cpu")  # seen now, whenever that is


def page(client, run: Run) -> str:
    response = client.get(f"/admin/training/run/{run.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


# In words


def test_running_says_where_it_is_and_how_long_it_takes(make_run, worker):
    run = make_run("running", step=12)

    assert standing(run, now=NOW).sentence == "Running, step 12 of 60. About 8 min left."


def test_before_the_first_step_no_time_is_promised(make_run):
    assert (
        standing(make_run("running", total_steps=0, phase="loading"), now=NOW).sentence == "Running: loading the model."
    )


def test_a_resumed_run_promises_no_time(make_run):
    assert "left" not in standing(make_run("running", step=12, attempts=2), now=NOW).sentence


def test_without_a_worker_it_says_how_to_start_one(client, make_run):
    found = standing(make_run(device="cuda:0"))

    assert (found.advice, found.command) == ("No worker is running. Start one:", "manage.py run_worker --device cuda:0")


def test_a_worker_for_another_device_does_not_help(make_run, worker):
    assert "serve cpu, not cuda" in standing(make_run(device="cuda")).advice


def test_queued_says_what_is_before_it(make_run, worker):
    first, second = make_run(), make_run()

    assert standing(first).sentence == "Waiting: next in the queue."
    assert standing(second).sentence == "Waiting: 1 run is before it."


def test_silent_for_long_is_stalled(make_run, worker):
    run = make_run("running", step=12, progressed_at=NOW - timedelta(minutes=7), started_at=NOW - timedelta(minutes=9))

    assert badge(run, NOW).word == "Stalled"
    assert standing(run, now=NOW).sentence == "Stalled at step 12 of 60: no progress for 7 min."


def test_slow_steps_are_not_stalled(make_run, worker):
    run = make_run("running", step=2, progressed_at=NOW - timedelta(minutes=7), started_at=NOW - timedelta(minutes=27))

    assert badge(run, NOW).word == "Running"


def test_a_worker_that_is_not_heard_has_lost_its_run(make_run):
    run = make_run("running", heartbeat_at=NOW - timedelta(minutes=3))

    assert badge(run, NOW).word == "Lost"
    assert standing(run, now=NOW).command == "manage.py run_worker"


def test_failed_says_why_and_shows_its_log(client, make_run):
    run = make_run("failed", error="The device has too little memory.", started_at=NOW, ended_at=NOW)
    run.folder.mkdir(parents=True)
    (run.folder / "log.txt").write_text("<b>step 1</b>\n")

    shown = page(client, run)
    assert "Failed after 1 s: The device has too little memory." in shown
    assert "&lt;b&gt;step 1&lt;/b&gt;" in shown
    assert 'id="resume"' in shown and 'id="cancel"' not in shown


def test_succeeded_shows_what_came_out(client, make_run):
    held_out = {
        "pairs": 140, "prompts": 30, "accuracy": 0.643, "accuracy_ci": [0.551, 0.731], "length_accuracy": 0.564,
        "length_rule": "prefer the shorter", "against_length": "no difference shown",
    }  # fmt: skip
    run = make_run("succeeded", started_at=NOW, ended_at=NOW, outcome={"summary": {"pairs": 9, "held_out": held_out}})
    model = ModelVersion.objects.create(
        name="kitchen-reward", version=1, kind="reward", folder="x", checksum="y", run=run
    )

    shown = page(client, run)
    assert "made the model kitchen-reward@1" in shown
    assert "64\xa0% [55, 73]" in shown and "No difference to length alone, 56\xa0%, is shown." in shown
    assert f"/admin/training/modelversion/{model.pk}/change/" in shown
    assert "no difference shown" in client.get("/admin/training/modelversion/").content.decode()
    assert "Only 30 prompts" in client.get(f"/admin/training/modelversion/{model.pk}/change/").content.decode()


def test_settings_stand_beside_their_defaults(client, make_run):
    shown = page(client, make_run())

    assert "1 differs from its default" in shown  # epochs: 3
    assert '<td class="changed">3</td>' in shown


def test_lineage_goes_both_ways(client, make_run, project):
    dataset = Dataset.objects.create(name="kitchen-1", project=project, file="f", sha256="s")
    base = ModelVersion.objects.create(name="base", version=1, kind="base", folder="x", checksum="y")
    run = make_run("succeeded")
    run.datasets.add(dataset)
    run.parents.add(base)
    reward = ModelVersion.objects.create(name="rm", version=1, kind="reward", folder="x", checksum="y", run=run)
    child = make_run(name="measured", method="evaluate", cloned_from=run)
    child.parents.add(reward)

    assert all(word in page(client, run) for word in ("kitchen-1", "base@1", "rm@1", "measured"))
    for address in (f"modelversion/{base.pk}", f"dataset/{dataset.pk}"):
        shown = client.get(f"/admin/training/{address}/change/").content.decode()
        assert "kitchen-reward" in shown and "rm@1" in shown


# Acting


def test_cancel_resume_and_their_refusals(client, make_run):
    run = make_run()

    client.post(f"/admin/training/run/{run.pk}/cancel/")
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED

    client.post(f"/admin/training/run/{run.pk}/resume/")
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED

    answer = client.post(f"/admin/training/run/{run.pk}/resume/", follow=True)
    assert "only a failed or cancelled run can be resumed" in answer.content.decode()


def test_cancelling_a_running_run_asks_its_worker(client, make_run, worker):
    run = make_run("running", step=3)

    shown = client.post(f"/admin/training/run/{run.pk}/cancel/", follow=True).content.decode()

    run.refresh_from_db()
    assert (run.state, run.cancel_requested) == (Run.State.RUNNING, True)
    assert "ends after the present step" in shown and 'id="cancel"' not in shown


def test_promote(client, make_run):
    old, new = (
        ModelVersion.objects.create(name="rm", version=n, kind="reward", folder="x", checksum="y", stage=stage)
        for n, stage in ((1, "promoted"), (2, "candidate"))
    )

    client.post(f"/admin/training/modelversion/{new.pk}/promote/")

    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.stage, new.stage) == ("retired", "promoted")


# Refreshing


def test_an_active_run_asks_for_news_and_an_ended_one_does_not(client, make_run):
    active, ended = make_run("running"), make_run("succeeded")

    for address in ("change", "live"):
        assert 'hx-trigger="every 2s"' in client.get(f"/admin/training/run/{active.pk}/{address}/").content.decode()
        assert "hx-trigger" not in client.get(f"/admin/training/run/{ended.pk}/{address}/").content.decode()


def test_news_are_only_the_parts_that_change(client, make_run):
    run = make_run("running", step=3)

    news = client.get(f"/admin/training/run/{run.pk}/live/?shown=running").content.decode()

    assert "<html" not in news and "<details" not in news and "<button" not in news  # folds and focus stay
    assert news.count("hx-swap-oob") == 7


def test_buttons_come_anew_only_with_a_new_state(client, make_run):
    run = make_run("running")

    assert 'id="actions"' not in client.get(f"/admin/training/run/{run.pk}/live/?shown=running").content.decode()
    assert 'id="actions"' in client.get(f"/admin/training/run/{run.pk}/live/?shown=queued").content.decode()


def test_curves_come_as_json_and_only_when_there_is_news(client, make_run):
    run = make_run("running", metrics_read=90)
    for step, value in ((1, 0.7), (2, None), (3, 0.5)):
        Metric.objects.create(run=run, step=step, name="loss/train", value=value)
    Metric.objects.create(run=run, step=3, name="optim/grad_norm", value=1.0)

    response = client.get(f"/admin/training/run/{run.pk}/metrics/")

    assert response.json() == {"loss/train": {"steps": [1, 2, 3], "values": [0.7, None, 0.5]}}
    again = client.get(f"/admin/training/run/{run.pk}/metrics/", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_long_curves_are_thinned_and_keep_their_end(client, make_run):
    run = make_run("running")
    Metric.objects.bulk_create(Metric(run=run, step=step, name="loss/train", value=1 / step) for step in range(1, 5001))

    curve = client.get(f"/admin/training/run/{run.pk}/metrics/").json()["loss/train"]

    assert len(curve["steps"]) <= 601
    assert curve["steps"][-1] == 5000


# What it costs


def test_pages_cost_the_same_however_much_there_is(
    client, make_run, make_member, worker, django_assert_max_num_queries
):
    run = make_run("running", step=3)
    names = [f"metric/{n}" for n in range(12)]
    Metric.objects.bulk_create(Metric(run=run, step=s, name=n, value=0.5) for s in range(50) for n in names)
    for _ in range(30):
        make_run("queued", cloned_from=run)
    for version in range(1, 20):
        made = make_run("succeeded")
        ModelVersion.objects.create(name="rm", version=version, kind="reward", folder="x", checksum="y", run=made)
    client.get("/admin/training/run/")  # content types, session

    with django_assert_max_num_queries(13):
        assert "20th in the queue" in client.get("/admin/training/run/").content.decode()
    with django_assert_max_num_queries(16):
        page(client, run)
    with django_assert_max_num_queries(16):
        client.get(f"/admin/training/run/{run.pk}/live/")
    with django_assert_max_num_queries(13):
        client.get("/admin/training/modelversion/")


def test_an_empty_house_says_what_to_do(client, project):
    assert "freeze a snapshot there" in client.get("/admin/training/run/").content.decode()
    assert "/p/kitchen/data/" in client.get("/admin/training/dataset/").content.decode()
    assert "register_model" in client.get("/admin/training/modelversion/").content.decode()


def test_filters_are_links(client, make_run):
    make_run("failed", name="broken")
    make_run("queued", name="patient")

    shown = client.get("/admin/training/run/?state__exact=failed").content.decode()

    assert "broken" in shown and "patient" not in shown
    assert 'href="?method=dpo&amp;state__exact=failed"' in shown


def test_samples_stand_below_their_question_and_are_harmless(client, make_run, make_task):
    run = make_run("running", method="generate", config={"model": "base@1"})
    prompt = make_task("How long do eggs keep?").prompt
    RunFolder(run.folder).write_part(
        [{"prompt_id": prompt.pk, "model": "base@1", "text": "**Weeks** <img src=x>", "tokens": 3, "cut": False}]
    )

    shown = page(client, run)

    assert "How long do eggs keep?" in shown and "<strong>Weeks</strong>" in shown
    assert "<img" not in shown
    assert "data-curves" not in shown  # progress and samples are all there is to see


def test_only_what_writes_texts_has_samples(client, make_run):
    policies = {"model": "policy@1", "baseline": "base@1", "judge": "reward@1"}
    assert "Samples" in page(client, make_run("succeeded", method="evaluate", config=policies))
    assert "Samples" not in page(client, make_run("succeeded", method="evaluate", config={"model": "reward@1"}))


def test_a_metric_has_the_colour_of_its_curve_also_before_the_others_are_measured(client, make_run):
    run = make_run("running")
    Metric.objects.create(run=run, name="loss/train", step=1, value=0.7)
    shown = page(client, run)
    assert 'swatch series-2"></span> <code>loss/train' in shown  # the first curve is the held-out loss

    Metric.objects.create(run=run, name="loss/heldout", step=20, value=0.6)
    assert 'swatch series-1"></span> <code>loss/heldout' in page(client, run)


def test_an_evaluation_leads_to_the_answers_side_by_side(client, make_run):
    policy, base = (
        ModelVersion.objects.create(name=name, version=1, kind=kind, folder="x", checksum="y")
        for name, kind in (("policy", "policy"), ("base", "base"))
    )
    run = make_run("succeeded", method="evaluate", outcome={"seconds": 3})
    result = {
        "prompts": 60, "wins": 50, "ties": 0, "losses": 10, "win_rate": 0.83, "win_rate_ci": [0.7, 0.9],
        "length_controlled": 0.8, "verdict": "better",
    }  # fmt: skip
    Evaluation.objects.create(run=run, model=policy, baseline=base, judge=None, result=result)

    shown = page(client, run)

    assert "/p/kitchen/compare/?a=policy@1&amp;b=base@1" in shown
    assert "A judge that is gone finds policy@1 better than base@1" in shown
