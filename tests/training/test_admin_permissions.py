"""Who may come into the engineers' admin, and which rows they find there."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from annotation.models import Membership, Project, Role
from training.models import Dataset, Evaluation, ModelVersion, Run

LISTS = [
    "/admin/training/run/",
    "/admin/training/modelversion/",
    "/admin/training/dataset/",
    "/admin/training/run/add/",
]
FOR_SUPERUSERS = ["/admin/auth/user/", "/admin/annotation/project/", "/admin/axes/accessattempt/"]


@pytest.fixture
def run(project, engineer) -> Run:
    return Run.objects.create(name="kitchen-reward", method="reward", config={"model": "base@1"}, project=project)


@pytest.fixture
def model(run) -> ModelVersion:
    return ModelVersion.objects.create(
        name="kitchen-reward", version=1, kind="reward", folder="runs/1/model", checksum="ab12", run=run
    )


@pytest.fixture
def dataset(project) -> Dataset:
    return Dataset.objects.create(name="kitchen-1", project=project, file="d.parquet", sha256="cd34", summary={})


@pytest.fixture
def other_project(make_member) -> Project:
    """A project with an engineer of its own."""
    other = Project.objects.create(slug="garden", title="Garden questions")
    make_member("gil", Role.ENGINEER, project=other)
    return other


@pytest.mark.parametrize("address", LISTS)
def test_an_engineer_comes_in_without_being_staff(client, engineer, address):
    client.force_login(engineer.user)

    assert not engineer.user.is_staff
    assert client.get(address).status_code == 200


def test_pages_of_an_engineers_own_rows(client, engineer, run, model, dataset):
    client.force_login(engineer.user)

    for row in (run, model, dataset):
        page = client.get(reverse(f"admin:training_{row._meta.model_name}_change", args=[row.pk]))
        assert page.status_code == 200, row
        assert str(row) in page.content.decode()


@pytest.mark.parametrize("address", [*LISTS, *FOR_SUPERUSERS, "/admin/", "/admin/training/run/1/change/", "/admin/x/"])
def test_to_everyone_else_nothing_is_there(client, annotator, manager, stranger, address):
    for user in (annotator.user, manager.user, stranger):
        client.force_login(user)
        assert client.get(address).status_code == 404, user


def test_staff_without_an_engineers_place_is_nobody_here(client, stranger):
    stranger.is_staff = True
    stranger.save()
    client.force_login(stranger)

    assert client.get("/admin/training/run/").status_code == 404


def test_who_left_the_project_is_out(client, engineer, run):
    Membership.objects.filter(pk=engineer.pk).update(left_at="2026-01-01T00:00Z")
    client.force_login(engineer.user)

    assert client.get("/admin/training/run/").status_code == 404


def test_anonymous_people_are_asked_to_log_in_on_our_own_page(client, run):
    response = client.get(f"/admin/training/run/{run.pk}/change/")

    assert response.status_code == 302
    assert response.url == f"/login/?next=/admin/training/run/{run.pk}/change/"
    assert client.get("/admin/login/").url == "/login/"


def test_rows_of_other_projects_do_not_exist(client, other_project, run, model, dataset):
    client.force_login(User.objects.get(username="gil"))

    for row in (run, model, dataset):
        assert client.get(reverse(f"admin:training_{row._meta.model_name}_change", args=[row.pk])).status_code == 404
        assert str(row) not in client.get(f"/admin/training/{row._meta.model_name}/").content.decode()
    for action in ("cancel", "resume"):
        assert client.post(f"/admin/training/run/{run.pk}/{action}/").status_code == 404
    assert client.get(f"/admin/training/run/{run.pk}/metrics/").status_code == 404
    assert client.get(f"/admin/training/run/{run.pk}/live/").status_code == 404
    assert client.get(f"/admin/training/run/add/?clone={run.pk}").status_code == 404
    assert client.post(f"/admin/training/modelversion/{model.pk}/promote/").status_code == 404
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_registered_models_are_everyones(client, other_project):
    ModelVersion.objects.create(name="smollm2", version=1, kind="base", folder="models/smollm2", checksum="ef56")
    client.force_login(User.objects.get(username="gil"))

    assert "smollm2@1" in client.get("/admin/training/modelversion/").content.decode()


def test_what_another_project_found_of_a_model_for_everyone_is_not_shown(client, engineer, other_project, run, model):
    base = ModelVersion.objects.create(name="smollm2", version=1, kind="base", folder="models/smollm2", checksum="ef56")
    accuracy = {"accuracy": 0.6, "accuracy_ci": [0.5, 0.7], "pairs": 90, "prompts": 60, "length_accuracy": 0.5}
    rule = {"length_rule": "prefer the shorter", "against_length": "no difference shown"}
    Evaluation.objects.create(run=run, model=base, judge=model, result={**accuracy, **rule})

    for user, sees in ((engineer.user, True), (User.objects.get(username="gil"), False)):
        client.force_login(user)
        for page in ("/admin/training/modelversion/", f"/admin/training/modelversion/{base.pk}/change/"):
            assert ("of 90 held-out pairs" in client.get(page).content.decode()) == sees, (user, page)


def test_actions_are_posts(client, engineer, run, model):
    client.force_login(engineer.user)

    assert client.get(f"/admin/training/run/{run.pk}/cancel/").status_code == 405
    assert client.get(f"/admin/training/run/{run.pk}/resume/").status_code == 405
    assert client.get(f"/admin/training/modelversion/{model.pk}/promote/").status_code == 405


def test_engineers_find_no_people_and_projects(client, engineer):
    client.force_login(engineer.user)

    page = client.get("/admin/training/run/").content.decode()
    for address in FOR_SUPERUSERS:
        assert client.get(address).status_code == 404
        assert address not in page


def test_superusers_find_everything(client, engineer, run):
    root = User.objects.create_superuser("root", password="root-secret")
    client.force_login(root)

    for address in [*LISTS, *FOR_SUPERUSERS, f"/admin/training/run/{run.pk}/change/"]:
        assert client.get(address).status_code == 200, address
    page = client.get(f"/admin/auth/user/{engineer.user.pk}/change/")
    assert page.status_code == 200
    response = client.post(f"/admin/auth/user/{engineer.user.pk}/change/", {"email": "eli@example.org"})
    assert response.status_code == 302
    engineer.user.refresh_from_db()
    assert (engineer.user.email, engineer.user.is_active) == ("eli@example.org", False)
    assert client.get(f"/admin/annotation/project/{run.project.pk}/change/").status_code == 200
