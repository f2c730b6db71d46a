"""What `manage.py demo` puts into an empty database: four people and three projects, all from training/demo_data/.

Each project is made in one transaction, so a demo that was killed halfway finds it whole or not at all and goes on.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from annotation import exports, imports, projects
from annotation.models import Membership, Project, Role
from annotation.simulated import judge_everything
from training import launches, registry
from training.models import ModelVersion, Run

DATA = Path(__file__).parent / "demo_data"
PREPARED = Path(settings.BASE_DIR) / ".setup" / "models" / "smollm2-135m-instruct"
ROLES = {
    "annotator": Role.ANNOTATOR,
    "annotator2": Role.ANNOTATOR,
    "manager": Role.MANAGER,
    "engineer": Role.ENGINEER,
}


class NotTheDemos(Exception):
    """This storage folder has people of the demo's names whom the demo did not make."""


def logins_file() -> Path:
    return Path(settings.STORAGE) / "demo_logins.json"


def seed() -> dict[str, str]:
    """Make what is missing. Returns the passwords by user name."""
    passwords = seed_people()
    people = {user.username: user for user in User.objects.filter(username__in=ROLES)}
    model = base_model()
    seed_sample(people)
    seed_richang(people)
    everyday = seed_everyday(people)  # last: the newest project is what a person sees first
    if not Run.objects.filter(project=everyday, method="generate").exists():  # never again: one may have stopped it
        launches.launch_generation(everyday, model=str(model), by=people["engineer"])
    return passwords


def what_goes_on() -> str:
    """A sentence on the answers that are being written."""
    counted = exports.counts(Project.objects.get(slug="everyday"))
    if counted["waiting"] == counted["all"]:
        return "Answers are being written now; the first task opens within a minute."
    if not counted["waiting"]:
        return ""
    answered = counted["all"] - counted["waiting"]
    return f"{answered} of {counted['all']} questions have their answers; more are being written."


def seed_people() -> dict[str, str]:
    """The demo's users. Their passwords are made once and kept in a file that only its owner reads."""
    file = logins_file()
    if not file.exists():
        if taken := User.objects.filter(username__in=ROLES).values_list("username", flat=True).first():
            raise NotTheDemos(
                f"There is a user {taken!r} that the demo did not make; set STORAGE to another folder for the demo."
            )
        unfinished = file.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump({name: make_password() for name in ROLES}, handle, indent=1)
        unfinished.replace(file)
    passwords: dict[str, str] = json.loads(file.read_text())
    for name, password in passwords.items():
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(name, password=password)
    return passwords


def make_password() -> str:
    """62 bits, without letters that look alike."""
    return "-".join("".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(4)) for _ in range(3))


def base_model() -> ModelVersion:
    """SmolLM2 in the registry."""
    model = ModelVersion.objects.filter(name=PREPARED.name).order_by("version").first()
    return model or registry.register_model(PREPARED.name, PREPARED)


def seed_everyday(people: dict[str, User]) -> Project:
    """40 questions that a model answers while one looks on."""
    return _project("everyday", "Everyday questions", "everyday_guideline.md", "everyday_prompts.jsonl", people)


def seed_richang(people: dict[str, User]) -> Project:
    """10 questions in Chinese, three answers each, written by hand: the demo's model speaks only English."""
    return _project("richang", "日常问题", "richang_guideline.md", "richang.jsonl", people, answers_per_task=3)


def seed_sample(people: dict[str, User]) -> Project:
    """24 questions that three simulated annotators have judged: something to measure and to train on at once.

    The demo's annotators are not in it: nothing is left to judge.
    """
    with transaction.atomic():
        if found := Project.objects.filter(slug="sample").first():
            return found
        project = _project(
            "sample",
            "Sample, finished",
            "sample_guideline.md",
            "sample.jsonl",
            {name: people[name] for name in ("manager", "engineer")},
            answers_per_task=3,
            overlap=3,
            calibration_share=0,
            simulated=True,
        )
        judge_everything(project, annotators=3, seed=7)
    return project


def _project(slug: str, title: str, guideline: str, prompts: str, people: dict[str, User], **fields: Any) -> Project:
    with transaction.atomic():
        if found := Project.objects.filter(slug=slug).first():
            return found
        project = projects.create_project(
            title, slug=slug, guideline=(DATA / guideline).read_text(encoding="utf-8"), by=people["manager"], **fields
        )
        Membership.objects.bulk_create(
            Membership(project=project, user=user, role=ROLES[name])
            for name, user in people.items()
            if ROLES[name] != Role.MANAGER  # create_project made that one
        )
        imports.import_prompts(project, DATA / prompts)
    return project
