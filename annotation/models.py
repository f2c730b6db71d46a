"""The rows of annotation: people, prompts, candidates, tasks, leases and the rankings that are the truth."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Message = dict[str, str]


class Role(models.TextChoices):
    ANNOTATOR = "annotator", _("Annotator")
    MANAGER = "manager", _("Manager")
    ENGINEER = "engineer", _("Engineer")


class MadeBy(models.TextChoices):
    """Who judged. The three never look alike."""

    HUMAN = "human", _("Human")
    SIMULATED = "simulated", _("Simulated")
    JUDGE = "judge", _("Machine judge")


class Kind(models.TextChoices):
    RANKING = "ranking", _("Rank several answers")
    PAIRWISE = "pairwise", _("Compare two answers")


class Purpose(models.TextChoices):
    """Why a judgement was made. Only WORK and IMPORTED count for overlap, agreement and preference export."""

    WORK = "work", _("Work")
    IMPORTED = "imported", _("Imported")
    SURPLUS = "surplus", _("Surplus")  # the seat had gone to another meanwhile: kept, never counted


COUNTED = (Purpose.WORK, Purpose.IMPORTED)


class Project(models.Model):
    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        PAUSED = "paused", _("Paused")

    slug = models.SlugField(unique=True)
    title = models.CharField(_("title"), max_length=120)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind, default=Kind.RANKING)
    answers_per_task = models.PositiveSmallIntegerField(
        _("answers per prompt"), default=4, validators=[MinValueValidator(2), MaxValueValidator(9)]
    )
    overlap = models.PositiveSmallIntegerField(
        _("people per task"), default=1, validators=[MinValueValidator(1), MaxValueValidator(50)]
    )
    calibration_share = models.FloatField(
        _("calibration share"), default=0.15, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    calibration_overlap = models.PositiveSmallIntegerField(
        _("people per calibration task"), default=3, validators=[MinValueValidator(2), MaxValueValidator(50)]
    )
    lease_minutes = models.PositiveSmallIntegerField(
        _("minutes a task is held"), default=15, validators=[MinValueValidator(1), MaxValueValidator(24 * 60)]
    )
    state = models.CharField(_("state"), max_length=20, choices=State, default=State.ACTIVE)
    guideline = models.ForeignKey("Guideline", models.SET_NULL, null=True, blank=True, related_name="+")
    simulated = models.BooleanField(default=False, help_text=_("its judgements were made by simulated annotators"))
    previewed_at = models.DateTimeField(null=True, blank=True)  # a manager saw the page as its annotators will
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.title

    @property
    def lease_time(self) -> timedelta:
        return timedelta(minutes=self.lease_minutes)


class Guideline(models.Model):
    """One published version of a project's guideline, in Markdown."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField()
    change_note = models.CharField(max_length=200, blank=True)
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="guideline_version")]
        ordering = ["-version"]

    def __str__(self) -> str:
        return f"v{self.version}"


def make_pseudonym() -> str:
    return f"p-{secrets.token_hex(5)}"


class MembershipQuerySet(models.QuerySet["Membership"]):
    def active(self) -> MembershipQuerySet:
        return self.filter(left_at=None, user__isnull=False)


class Membership(models.Model):
    """One person's place in one project. People whose judgements were imported have a name and no user."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="memberships"
    )
    external_id = models.CharField(max_length=100, blank=True)
    role = models.CharField(max_length=20, choices=Role, default=Role.ANNOTATOR)
    made_by = models.CharField(max_length=20, choices=MadeBy, default=MadeBy.HUMAN)
    pseudonym = models.CharField(max_length=20, default=make_pseudonym)
    joined_at = models.DateTimeField(default=timezone.now)
    left_at = models.DateTimeField(null=True, blank=True)
    served = models.PositiveIntegerField(default=0, help_text="work leases ever given: spreads calibration tasks")

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_user"),
            models.UniqueConstraint(
                fields=["project", "external_id"], condition=~Q(external_id=""), name="membership_external_id"
            ),
            models.UniqueConstraint(fields=["project", "pseudonym"], name="membership_pseudonym"),
            models.CheckConstraint(condition=Q(user__isnull=False) | ~Q(external_id=""), name="membership_is_someone"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Where this person's work in this project is."""
        page = {Role.ANNOTATOR: "annotate", Role.MANAGER: "overview", Role.ENGINEER: "data"}[Role(self.role)]
        return reverse(page, args=[self.project.slug])

    @property
    def name(self) -> str:
        """What managers see; exports and annotators see the pseudonym."""
        return self.user.get_username() if self.user else self.external_id


class OneTimeLink(models.Model):
    """A link that works once: it invites someone into a project, or lets a person choose a new password."""

    token_hash = models.CharField(max_length=64, unique=True)
    project = models.ForeignKey(Project, models.CASCADE, related_name="links")
    role = models.CharField(max_length=20, choices=Role, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")  # a new password
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)


class ApiToken(models.Model):
    """256 random bits, shown once and stored as SHA-256."""

    class Scope(models.TextChoices):
        ANNOTATE = "annotate", _("Annotate")
        READ = "read", _("Read agreement and exports")
        WRITE = "write", _("Add prompts")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def make(cls, user: User, name: str, scopes: list[str]) -> tuple[ApiToken, str]:
        """The row and the secret; the secret cannot be read again."""
        secret = secrets.token_urlsafe(32)
        return cls.objects.create(user=user, name=name, scopes=scopes, token_hash=hash_token(secret)), secret


def hash_token(secret: str) -> str:
    """SHA-256 suffices for 256 random bits; a slow hash would cost 100 ms a request."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Prompt(models.Model):
    class Split(models.TextChoices):
        TRAIN = "train", _("Train")
        VALIDATION = "validation", _("Validation")
        TEST = "test", _("Test")

    project = models.ForeignKey(Project, models.CASCADE, related_name="prompts")
    messages = (
        models.JSONField()
    )  # [{"role": "system" | "user" | "assistant", "content": str}, ...], the last is a user's
    language = models.CharField(max_length=20, blank=True)
    content_hash = models.CharField(max_length=64)
    tags = models.JSONField(default=list, blank=True)
    batch = models.CharField(max_length=80, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    split = models.CharField(max_length=10, choices=Split)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_content")]

    @property
    def last_user_turn(self) -> str:
        return str(self.messages[-1]["content"])

    @property
    def earlier_turns(self) -> list[Message]:
        return list(self.messages[:-1])

    @staticmethod
    def hash_messages(messages: list[Message]) -> str:
        plain = [[message["role"], message["content"]] for message in messages]
        return hashlib.sha256(json.dumps(plain, ensure_ascii=False).encode()).hexdigest()

    @staticmethod
    def split_of(content_hash: str) -> str:
        """8 of 10 prompts train, 1 validates, 1 tests. Equal prompts fall on the same side in every project."""
        tenth = int(content_hash[:8], 16) % 10
        return Prompt.Split.TEST if tenth == 0 else Prompt.Split.VALIDATION if tenth == 1 else Prompt.Split.TRAIN


class TaskQuerySet(models.QuerySet["Task"]):
    def with_free_seat(self) -> TaskQuerySet:
        return self.filter(ready=True, taken__lt=F("overlap"))

    def finished(self) -> TaskQuerySet:
        return self.filter(ready=True, judged__gte=F("overlap"))


class Task(models.Model):
    """One prompt with the candidates to judge, and `overlap` seats for the people who judge it.

    `taken` counts live and spent work leases and imported judgements, `judged` the current counted rankings.
    Both change only by counted UPDATEs in the transaction that changes what they count.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="tasks")
    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="tasks")
    external_id = models.CharField(max_length=200, null=True, blank=True)
    position = models.PositiveBigIntegerField(default=0)  # order of the queue
    ready = models.BooleanField(default=False)  # all its candidates are there
    draw = models.FloatField(default=0.0)  # uniform in [0, 1) from the prompt's hash: below the share it calibrates
    is_calibration = models.BooleanField(default=False)
    overlap = models.PositiveSmallIntegerField(default=1)
    taken = models.PositiveSmallIntegerField(default=0)
    judged = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "external_id"], name="task_external_id"),
            models.CheckConstraint(condition=Q(taken__lte=F("overlap")), name="task_seats_within_overlap"),
            models.CheckConstraint(condition=Q(judged__lte=F("taken")), name="task_judged_within_taken"),
        ]
        indexes = [
            # Breadth first: every task gets its first judgement before any gets its second.
            models.Index(
                fields=["project", "taken", "position", "id"],
                condition=Q(ready=True, taken__lt=F("overlap")),
                name="task_queue",
            ),
            models.Index(
                fields=["project", "-taken", "position", "id"],  # most judged first: its overlap fills early
                condition=Q(ready=True, taken__lt=F("overlap"), is_calibration=True),
                name="task_calibration_queue",
            ),
        ]


class Candidate(models.Model):
    """One answer to a task's prompt. Which model wrote it is never shown to annotators."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="candidates")
    text = models.TextField(blank=True)
    model_name = models.CharField(max_length=200, blank=True)
    sampling = models.JSONField(default=dict, blank=True)  # temperature, top_p, seed, run ...
    tokens = models.PositiveIntegerField(null=True, blank=True)
    cut = models.BooleanField(default=False)  # it ended at the length limit
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]


class LeaseQuerySet(models.QuerySet["Lease"]):
    def live(self) -> LeaseQuerySet:
        return self.filter(state=Lease.State.LIVE)

    def stale(self) -> LeaseQuerySet:
        """Live in the row, out of time by the clock: still its holder's until somebody takes the seat."""
        return self.live().filter(expires_at__lte=timezone.now())

    def held_by(self, user: Any) -> LeaseQuerySet:
        """In any state: a retry must find a spent one. Who became an engineer sees models, so judges no more."""
        return self.filter(annotator__user=user, annotator__left_at=None).exclude(annotator__role=Role.ENGINEER)


class Lease(models.Model):
    """One annotator's hold of one seat. The clock changes no row: whoever takes a stale seat flips its lease."""

    class State(models.TextChoices):
        LIVE = "live", _("Live")
        SPENT = "spent", _("Spent")
        SKIPPED = "skipped", _("Skipped")
        RELEASED = "released", _("Released")
        EXPIRED = "expired", _("Expired")

    class SkipReason(models.TextChoices):
        LANGUAGE = "language", _("Not my language")
        KNOWLEDGE = "knowledge", _("Beyond my knowledge")
        BROKEN = "broken", _("Broken task")
        DISTRESSING = "distressing", _("Distressing")
        OTHER = "other", _("Other")

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, models.CASCADE, related_name="leases")
    annotator = models.ForeignKey(Membership, models.CASCADE, related_name="leases")
    attempt = models.PositiveSmallIntegerField(default=1)  # one may come back to a task that expired or was released
    seat = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.LIVE)
    skip_reason = models.CharField(max_length=20, choices=SkipReason, blank=True)
    expires_at = models.DateTimeField()
    display_order = models.JSONField()  # candidate ids as shown, first position first
    draft = models.JSONField(null=True)
    draft_counter = models.PositiveIntegerField(default=0)  # the client's; lower ones are ignored
    created_at = models.DateTimeField(default=timezone.now)

    objects = LeaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["task", "seat"], condition=Q(state__in=["live", "spent"]), name="lease_one_per_seat"
            ),
            models.UniqueConstraint(fields=["task", "annotator", "attempt"], name="lease_attempt"),
            models.UniqueConstraint(fields=["annotator"], condition=Q(state="live"), name="lease_one_live_per_person"),
        ]
        indexes = [models.Index(fields=["expires_at"], condition=Q(state="live"), name="lease_live_by_expiry")]

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def is_pairwise(self) -> bool:
        """Imported tasks may bring more than two answers into a project that compares two: those are ranked."""
        return self.annotator.project.kind == Kind.PAIRWISE and len(self.display_order) == 2

    @property
    def kind(self) -> str:
        return Kind.PAIRWISE if self.is_pairwise else Kind.RANKING

    def candidates_as_shown(self) -> list[Candidate]:
        by_id = {candidate.pk: candidate for candidate in self.task.candidates.all()}
        return [by_id[pk] for pk in self.display_order]


class RankingQuerySet(models.QuerySet["Ranking"]):
    def counted(self) -> RankingQuerySet:
        """What overlap, agreement and exports see."""
        return self.filter(is_current=True, purpose__in=COUNTED)

    def held_by(self, user: Any) -> RankingQuerySet:
        return self.filter(annotator__user=user, annotator__left_at=None).exclude(annotator__role=Role.ENGINEER)


class Ranking(models.Model):
    """One person's judgement of one task: the truth. Append-only; comparisons are derived from it when read."""

    repeated = False  # no column: set on the row that a request finds because it was sent before

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, models.CASCADE, related_name="rankings")
    annotator = models.ForeignKey(Membership, models.PROTECT, related_name="rankings")
    lease = models.ForeignKey(Lease, models.PROTECT, null=True, related_name="rankings")  # null: imported
    key = models.CharField(max_length=80)  # idempotency key of the client
    kind = models.CharField(max_length=20, choices=Kind)
    purpose = models.CharField(max_length=20, choices=Purpose, default=Purpose.WORK)
    made_by = models.CharField(max_length=20, choices=MadeBy, default=MadeBy.HUMAN)
    tiers = models.JSONField(null=True)  # [[12], [15, 13], [14]]: candidate ids, best first, equals share a tier
    unranked = models.JSONField(default=list)  # worse than every tier, unjudged among themselves
    all_bad = models.BooleanField(default=False)
    strength = models.PositiveSmallIntegerField(null=True)  # pairwise: 1 negligibly .. 4 significantly
    ratings = models.JSONField(default=dict)
    flags = models.JSONField(default=dict)
    comment = models.TextField(blank=True)
    seconds = models.FloatField(null=True)  # active time
    display_order = models.JSONField(default=list)
    guideline = models.ForeignKey(Guideline, models.SET_NULL, null=True, related_name="+")
    supersedes = models.OneToOneField("self", models.PROTECT, null=True, related_name="superseded_by")
    is_current = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = RankingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotator", "key"], name="ranking_key"),
            models.UniqueConstraint(
                fields=["task", "annotator"],
                condition=Q(is_current=True, purpose__in=["work", "imported"]),
                name="ranking_one_current_per_person",
            ),
        ]
        indexes = [models.Index(fields=["annotator", "created_at"], name="ranking_by_person")]
