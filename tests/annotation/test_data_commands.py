"""The commands as the shell sees them: what they print, what they return, what they refuse."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotation.imports import import_rankings
from annotation.models import Membership, OneTimeLink, Project, Prompt, Ranking, Role

LINES = [
    {"task": "t1", "prompt": "Eggs?", "candidates": ["a", "b"], "annotator": name, "tiers": tiers}
    for name, tiers in (("ann", [[0], [1]]), ("bob", [[0], [1]]), ("cyd", [[1], [0]]))
]


@pytest.fixture
def run(capsys):
    def run(*arguments, **options):
        call_command(*arguments, **options)
        return capsys.readouterr().out

    return run


@pytest.fixture
def rankings(tmp_path):
    path = tmp_path / "rankings.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return str(path)


def test_a_project_from_nothing_to_agreement(db, run, rankings, tmp_path):
    guideline = tmp_path / "guideline.md"
    guideline.write_text("# Judge kindly")

    run("create_project", "kitchen", "--title", "Kitchen", "--overlap", "2", "--guideline", str(guideline))
    stored = json.loads(run("import_rankings", "kitchen", rankings, "--json"))
    report = json.loads(run("agreement", "kitchen", "--json"))
    quality = json.loads(run("quality", "kitchen", "--json"))

    project = Project.objects.get(slug="kitchen")
    assert (project.title, project.overlap, project.guideline.text) == ("Kitchen", 2, "# Judge kindly")
    assert (stored["rankings"], stored["duplicates"], stored["bad"]) == (3, [], [])
    assert report["pairwise"]["raw"] == pytest.approx(1 / 3)
    assert set(report["pairwise"]["cohen_kappa"]) == {"ann|bob", "ann|cyd", "bob|cyd"}
    assert quality["level"] == "few"
    assert quality["sentence"] == "Two people agree on 33 % of pairs; 1 shared pairs are too few to trust it."
    assert [(person["name"], person["agreement"]) for person in quality["annotators"]] == [
        ("ann", 0.5),
        ("bob", 0.5),
        ("cyd", 0),
    ]
    assert "33 %" in run("agreement", "kitchen") and "ann" in run("quality", "kitchen")


def test_pseudonyms(project, run):
    import_rankings(project, LINES)

    for command in ("agreement", "quality"):
        printed = run(command, "kitchen", "--pseudonyms", "--json")
        assert "bob" not in printed
        assert project.memberships.get(external_id="bob").pseudonym in printed


def test_without_overlap_agreement_says_so(project, run):
    import_rankings(project, LINES[:1])

    assert run("agreement", "kitchen").startswith("Nobody's work overlaps, so agreement cannot be measured.")


def test_an_unknown_project_is_told_with_the_known_ones(project):
    with pytest.raises(CommandError, match=r"There is no project 'kichen'. Known are: kitchen."):
        call_command("agreement", "kichen")


def test_bad_rows_are_listed(project, tmp_path, run):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Eggs?"}\n{"promt": "Milk?"}\n{"prompt": ""}\n')

    with pytest.raises(CommandError) as refused:
        call_command("import_prompts", "kitchen", str(path))

    assert str(refused.value).splitlines() == [
        "prompts.jsonl, line 2: promt: unknown field; did you mean prompt? 1 more row is wrong. Nothing was stored.",
        "prompts.jsonl, line 3: prompt: is empty; expected a text",
    ]
    assert not Prompt.objects.exists()
    printed = run("import_prompts", "kitchen", str(path), "--skip-bad")
    assert printed.startswith("Stored: prompts 1, tasks 1.\n2 bad rows, not stored:\n  prompts.jsonl, line 2: promt")
    assert Prompt.objects.count() == 1


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_export_and_import_again(project, run, tmp_path, name):
    import_rankings(project, LINES)
    out = tmp_path / name

    assert json.loads(run("export", "kitchen", "--type", "rankings", "--out", str(out), "--json"))["rows"] == 3
    run("create_project", "copy")
    run("import_rankings", "copy", str(out))

    assert gzip.decompress(out.read_bytes()) if name.endswith("gz") else out.read_text()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Ranking.objects.filter(task__project__slug="copy").count() == 3


def test_export_refuses_what_does_not_belong_together(project, tmp_path):
    with pytest.raises(CommandError, match="belong to --type preference"):
        call_command("export", "kitchen", "--type", "rankings", "--out", str(tmp_path / "x"), "--ties")
    with pytest.raises(CommandError, match="cannot be written: No such file"):
        call_command("export", "kitchen", "--type", "rankings", "--out", str(tmp_path / "no" / "x"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["kitchen"], "SLUG: Project with this Slug already exists."),
        (["a b"], "SLUG: Enter a valid"),
        (["new"], "The slug 'new' is reserved"),
        (["x", "--candidates", "10"], "--candidates: Ensure this value is less than or equal to 9."),
        (["x", "--kind", "pairwise", "--candidates", "3"], "--candidates must be 2"),
        (["x", "--overlap", "0"], "--overlap: Ensure this value is greater than or equal to 1."),
        (["x", "--manager", "nobody"], "There is no user 'nobody'."),
        (["x", "--guideline", "missing.md"], "missing.md cannot be read: No such file or directory."),
    ],
)
def test_a_project_that_cannot_be(project, options, sentence):
    with pytest.raises(CommandError) as refused:
        call_command("create_project", *options)

    assert str(refused.value).startswith(sentence)
    assert Project.objects.count() == 1


def test_members_come_change_and_are_invited(project, manager, stranger, run, client):
    run("add_member", "kitchen", "sam", "engineer")
    run("add_member", "kitchen", "sam", "annotator")
    new = json.loads(run("add_member", "kitchen", "zoe", "annotator", "--json"))
    invited = json.loads(run("invite", "kitchen", "manager", "--json"))

    assert Membership.objects.get(user=stranger).role == Role.ANNOTATOR
    assert OneTimeLink.objects.filter(used_at=None).count() == 2
    assert new["path"].startswith("/link/") and invited["path"].startswith("/link/")
    with pytest.raises(CommandError, match="needs a manager"):
        call_command("add_member", "kitchen", "mia", "annotator")


def test_the_shell_gets_exit_1_and_one_sentence(tmp_path):
    """Wrong usage too, which argparse would end with 2 and a page of help."""
    manage = [sys.executable, str(Path(__file__).parents[2] / "manage.py")]
    arguments = ["export", "kitchen", "--type", "nonsense", "--out", "x"]

    done = subprocess.run(
        [*manage, *arguments], env=os.environ | {"STORAGE": str(tmp_path)}, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "invalid choice: 'nonsense'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
