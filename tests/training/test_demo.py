"""What `make demo` puts into an empty database, and that it repairs itself."""

import json
import stat

import pytest
from django.contrib.auth.models import User

from annotation.models import Candidate, MadeBy, Membership, Project, Ranking, Task
from training import demo
from training.models import ModelVersion, Run


@pytest.fixture
def model(db, monkeypatch):
    """A row stands for the model: preparing and copying its 540 MB is another test's."""
    name = "smollm2-135m-instruct"
    model = ModelVersion.objects.create(name=name, version=1, kind="base", folder=f"models/{name}")
    monkeypatch.setattr(demo, "base_model", lambda: model)


@pytest.fixture
def seeded(model):
    return demo.seed()


def test_four_people_can_log_in(seeded):
    assert set(seeded) == {"annotator", "annotator2", "manager", "engineer"}
    for name, password in seeded.items():
        assert User.objects.get(username=name).check_password(password)
    file = demo.logins_file()
    assert json.loads(file.read_text()) == seeded
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_everyday_questions_wait_for_a_model(seeded):
    project = Project.objects.get(slug="everyday")
    assert project.tasks.count() == 40
    assert not project.tasks.filter(ready=True).exists()
    assert (project.calibration_share, project.calibration_overlap) == (0.15, 3)
    run = Run.objects.get()
    assert (run.method, run.project, run.state) == ("generate", project, Run.State.QUEUED)
    assert dict(project.memberships.values_list("user__username", "role")) == demo.ROLES


def test_chinese_questions_have_three_answers_written_by_hand(seeded):
    project = Project.objects.get(slug="richang")
    assert project.tasks.filter(ready=True).count() == 10
    answers = Candidate.objects.filter(task__project=project)
    assert answers.count() == 30
    assert set(answers.values_list("model_name", flat=True)) == {"handwritten"}


def test_the_sample_is_finished_and_says_that_it_is_simulated(seeded):
    project = Project.objects.get(slug="sample")
    assert project.simulated
    assert Task.objects.filter(project=project).finished().count() == 24
    rankings = Ranking.objects.counted().filter(task__project=project)
    assert rankings.count() == 72
    assert set(rankings.values_list("made_by", flat=True)) == {MadeBy.SIMULATED}


def test_annotators_first_see_what_they_can_do(seeded, client):
    client.force_login(User.objects.get(username="annotator"))
    assert client.get("/").url == "/p/everyday/annotate/"


def test_it_says_how_many_questions_have_answers(seeded):
    assert "first task opens within a minute" in demo.what_goes_on()
    tasks = Task.objects.filter(project__slug="everyday")
    tasks.filter(pk=tasks.first().pk).update(ready=True)
    assert demo.what_goes_on().startswith("1 of 40 questions")
    tasks.update(ready=True)
    assert demo.what_goes_on() == ""


def test_a_second_time_changes_nothing(seeded):
    before = [model.objects.count() for model in (User, Project, Membership, Task, Candidate, Ranking, Run)]
    assert demo.seed() == seeded
    assert [model.objects.count() for model in (User, Project, Membership, Task, Candidate, Ranking, Run)] == before


@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        (User.objects, "create_user", 3),
        (demo.imports, "import_prompts", 2),
        (demo, "judge_everything", 1),
        (demo.launches, "launch_generation", 1),
    ],
)
def test_killed_halfway_it_goes_on(model, monkeypatch, where, name, call):
    real, calls = getattr(where, name), []

    def dies(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, name, dies)
        demo.seed()

    demo.seed()
    assert set(Project.objects.values_list("slug", flat=True)) == {"everyday", "richang", "sample"}
    assert Task.objects.filter(project__slug="sample").finished().count() == 24
    assert User.objects.count() == 4
    assert Run.objects.count() == 1


def test_people_of_the_same_names_are_left_alone(db, storage):
    User.objects.create_user("manager", password="of-a-real-manager")
    with pytest.raises(demo.NotTheDemos, match="manager"):
        demo.seed_people()
    assert User.objects.get(username="manager").check_password("of-a-real-manager")
