"""The rows of training: datasets, runs with their metrics, and the models that came of them."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Dataset(models.Model):
    """Frozen rows in Parquet. A snapshot is one that a project made."""

    class Kind(models.TextChoices):
        TASKS = "tasks", _("Judged tasks")
        PROMPTS = "prompt_only", _("Prompts")

    name = models.CharField(_("name"), max_length=120, unique=True)
    kind = models.CharField(_("kind"), max_length=30, choices=Kind, default=Kind.TASKS)
    project = models.ForeignKey(
        "annotation.Project", models.SET_NULL, null=True, blank=True, related_name="datasets", verbose_name=_("project")
    )
    file = models.CharField(max_length=300)  # relative to the storage folder
    sha256 = models.CharField(max_length=64)
    summary = models.JSONField(default=dict)  # tasks, rankings, pairs, ties, all_bad, splits, agreement
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return Path(settings.STORAGE) / self.file


class Worker(models.Model):
    """A process that serves the queue, seen every few seconds: how pages know that runs will start."""

    name = models.CharField(max_length=120, unique=True)  # host, process and its start
    device = models.CharField(max_length=20)
    seen_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One run of a recipe: queued -> running -> succeeded | failed | cancelled, and running -> lost -> queued."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    name = models.CharField(_("name"), max_length=120)
    method = models.CharField(max_length=20)  # a key of training.configs.METHODS
    config = models.JSONField()
    project = models.ForeignKey(
        "annotation.Project", models.SET_NULL, null=True, blank=True, related_name="runs", verbose_name=_("project")
    )
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="runs")
    parents: models.ManyToManyField[ModelVersion, models.Model] = models.ManyToManyField(
        "ModelVersion", blank=True, related_name="children"
    )
    cloned_from = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="clones")
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    cancel_requested = models.BooleanField(default=False)
    device = models.CharField(max_length=20, default="cpu")
    worker = models.CharField(max_length=120, blank=True)  # who holds it
    slot = models.CharField(max_length=120, blank=True)  # the host and device on which it runs
    attempts = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)  # the supervisor's
    step = models.PositiveIntegerField(default=0)  # the recipe's progress
    total_steps = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=80, blank=True)
    progressed_at = models.DateTimeField(null=True)
    parts_imported = models.PositiveIntegerField(default=0)  # samples/ parts that entered the project
    metrics_read = models.PositiveBigIntegerField(default=0)  # bytes of metrics.jsonl that are rows already
    outcome = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["slot"], condition=Q(state="running"), name="run_one_per_device"),
            models.UniqueConstraint(  # a double click must not have every prompt answered twice
                fields=["project"],
                condition=Q(method="generate", state__in=["queued", "running"]),
                name="run_one_generation_per_project",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(state="queued"), name="run_queue"),
            models.Index(fields=["heartbeat_at"], condition=Q(state="running"), name="run_heartbeat"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        """With the time in its name: a new database over an old storage folder finds no other run's folder."""
        return Path(settings.STORAGE) / "runs" / f"{self.pk}-{self.created_at:%Y%m%dT%H%M%S}"

    @property
    def active(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.RUNNING)


class Metric(models.Model):
    run = models.ForeignKey(Run, models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    name = models.CharField(max_length=80)
    value = models.FloatField(null=True)  # null: not a finite number

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name", "step"], name="metric_once_a_step")]


class ModelVersion(models.Model):
    class Kind(models.TextChoices):
        BASE = "base", _("Base")
        SFT = "sft", _("SFT")
        REWARD = "reward", _("Reward model")
        POLICY = "policy", _("Policy")

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", _("Candidate")
        PROMOTED = "promoted", _("Promoted")
        RETIRED = "retired", _("Retired")

    name = models.CharField(max_length=100)  # as in training.configs.MODEL_NAME
    version = models.PositiveIntegerField()
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    folder = models.CharField(max_length=300)  # relative to the storage folder
    checksum = models.CharField(max_length=64)
    run = models.OneToOneField(Run, models.SET_NULL, null=True, blank=True, related_name="model")
    stage = models.CharField(_("stage"), max_length=20, choices=Stage, default=Stage.CANDIDATE)
    source = models.CharField(max_length=300, blank=True)  # the folder or hub name it was registered from
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="model_name_version"),
            models.UniqueConstraint(fields=["name"], condition=Q(stage="promoted"), name="model_one_promoted"),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def path(self) -> Path:
        return Path(settings.STORAGE) / self.folder


class Evaluation(models.Model):
    """What an evaluation run found: a reward model's accuracy, or a policy against another by a judge."""

    run = models.OneToOneField(Run, models.CASCADE, related_name="evaluation")
    model = models.ForeignKey(ModelVersion, models.CASCADE, related_name="evaluations")
    baseline = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, related_name="+")
    judge = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, related_name="+")
    result = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
