"""Submit, amend and draft: the verbs that make and change judgements. Nothing acknowledged is lost or stored twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from annotation.assignment import SeatLost
from annotation.models import Kind, Lease, Membership, Purpose, Ranking, Task

T = TypeVar("T", Lease, Ranking)


class WrongAnswer(ValueError):
    """What was sent is no ranking of this task: a sentence per field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in errors.items()))
        self.errors = errors


class KeyReused(ValueError):
    """The idempotency key was used before, for another judgement or with another answer."""


class AlreadyAmended(ValueError):
    """The ranking is not the current one any more."""


@dataclass(frozen=True)
class Answer:
    """A judgement before it is stored; `tiers` and `unranked` hold candidate ids."""

    tiers: list[list[int]] | None
    unranked: list[int] = field(default_factory=list)
    all_bad: bool = False
    strength: int | None = None
    comment: str = ""
    seconds: float | None = None

    @classmethod
    def from_positions(cls, data: dict[str, Any], display_order: list[int], kind: str = Kind.RANKING) -> Answer:
        """Read what an annotator sent, with display positions 1..n, against the order that was shown.

        Raises WrongAnswer with a reason per field. All bad needs no ranks; those given are kept.
        """
        errors: dict[str, str] = {}
        all_bad = data.get("all_bad") or False
        if not isinstance(all_bad, bool):
            errors["all_bad"] = _("must be true or false")
        tiers, unranked = data.get("tiers"), data.get("unranked") or []
        letters = [chr(ord("A") + n) for n in range(len(display_order))]
        if tiers is None or tiers == []:
            tiers = None
            if not all_bad:
                errors["tiers"] = _("no answer has a rank yet")
        elif not _is_tiers(tiers):
            errors["tiers"] = _("must be a list of lists of positions, best first")
        if not (isinstance(unranked, list) and all(_is_int(position) for position in unranked)):
            errors["unranked"] = _("must be a list of positions")
        if not errors:
            ranked = [position for tier in tiers or [] for position in tier]
            for name, positions in (("tiers", ranked), ("unranked", unranked)):
                if unknown := sorted(set(positions) - set(range(1, len(display_order) + 1))):
                    errors[name] = _("there is no answer at position %(position)s") % {"position": unknown[0]}
            given = ranked + unranked
            if not errors and (twice := sorted({p for p in given if given.count(p) > 1})):
                errors["tiers"] = _("%(letter)s is ranked twice") % {"letter": letters[twice[0] - 1]}
            if not errors and not all_bad:
                missing = [letter for n, letter in enumerate(letters, 1) if n not in given]
                if missing:
                    errors["tiers"] = _("%(letter)s has no rank yet") % {"letter": missing[0]}
        strength = data.get("strength")
        if strength is not None and not (_is_int(strength) and 1 <= strength <= 4 and kind == Kind.PAIRWISE):
            errors["strength"] = _("must be 1 to 4, and only where two answers are compared")
        comment = data.get("comment") or ""
        if not isinstance(comment, str) or len(comment) > 10_000 or not _can_be_stored(comment):
            errors["comment"] = _("must be a text of at most 10,000 characters")
        seconds = data.get("seconds")
        if seconds is not None and not (
            isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= 7 * 24 * 3600
        ):
            errors["seconds"] = _("must be a number of seconds")
        if errors:
            raise WrongAnswer(errors)
        return cls(
            tiers=None if tiers is None else [sorted(display_order[p - 1] for p in tier) for tier in tiers],
            unranked=sorted(display_order[p - 1] for p in unranked),
            all_bad=all_bad,
            strength=strength,
            comment=comment.strip(),
            seconds=seconds,
        )

    def same_as(self, ranking: Ranking) -> bool:
        """Whether the ranking holds this answer; the clock may differ when a request is sent again."""
        mine = asdict(self)
        mine.pop("seconds")
        return all(getattr(ranking, name) == value for name, value in mine.items())


def submit_ranking(lease: Lease, answer: Answer, *, key: str) -> Ranking:
    """Turn a lease into a stored ranking. Comparisons are derived from it when read, never stored twice.

    The same key again returns the same ranking, marked `repeated`; for anything else it raises KeyReused. A lease is
    spent once: a second answer (two tabs, a seat taken meanwhile) is kept as surplus and raises SeatLost.
    """
    ranking = _stored_once(_submit, lease, answer, key)
    if ranking.purpose == Purpose.SURPLUS:
        raise SeatLost(surplus=True)  # outside the transaction: raised inside, it would roll the surplus back
    return ranking


def _submit(lease: Lease, answer: Answer, key: str) -> Ranking:
    if earlier := _stored_before(lease, answer, key):
        return earlier
    with transaction.atomic():
        # The lease's row before the task's, as everywhere: two requests can never wait for each other.
        spent = Lease.objects.live().filter(pk=lease.pk).update(state=Lease.State.SPENT)
        if spent:
            Task.objects.filter(pk=lease.task_id).update(judged=F("judged") + 1)
        return _store(lease, answer, key, purpose=Purpose.WORK if spent else Purpose.SURPLUS)


def amend(ranking: Ranking, answer: Answer, *, key: str) -> Ranking:
    """Store a new answer that supersedes this one, which counts until then. Raises AlreadyAmended when it is old."""
    if ranking.lease is None:
        raise AlreadyAmended(_("An imported judgement is amended by importing it again."))
    return _stored_once(_amend, ranking, answer, key)


def _amend(ranking: Ranking, answer: Answer, key: str) -> Ranking:
    assert ranking.lease is not None
    if earlier := _stored_before(ranking.lease, answer, key, supersedes=ranking):
        return earlier
    with transaction.atomic():
        # Of two amendments at once the second waits here, on the row, and then finds it superseded.
        if not Ranking.objects.filter(pk=ranking.pk, is_current=True).update(is_current=False):
            if earlier := _stored_before(ranking.lease, answer, key, supersedes=ranking):
                return earlier
            raise AlreadyAmended(_("This judgement was amended meanwhile; open it again."))
        return _store(ranking.lease, answer, key, purpose=ranking.purpose, supersedes=ranking)


def save_draft(lease: Lease, draft: dict[str, Any], *, counter: int) -> bool:
    """Keep unfinished work. Older counters are ignored, so drafts may arrive out of order; False: seat lost."""
    if not (_is_int(counter) and 1 <= counter < 2**31):
        raise WrongAnswer({"counter": _("must be a whole number that grows from 1 with every draft")})
    text = json.dumps(draft, ensure_ascii=False).replace("\\u0000", "\0")
    if len(text) > 50_000 or not _can_be_stored(text):
        raise WrongAnswer({"draft": _("must be text that can be stored, of at most 50,000 characters")})
    if Lease.objects.live().filter(pk=lease.pk, draft_counter__lt=counter).update(draft=draft, draft_counter=counter):
        return True
    return Lease.objects.live().filter(pk=lease.pk).exists()


def last_ranking(annotator: Membership) -> Ranking | None:
    """The judgement that "undo" opens again. Nothing is deleted: what is sent then amends it."""
    mine = Ranking.objects.counted().filter(annotator=annotator, lease__isnull=False)
    return mine.select_related("lease", "task__prompt").order_by("-created_at", "-pk").first()


def _stored_once(act: Callable[[T, Answer, str], Ranking], of: T, answer: Answer, key: str) -> Ranking:
    if not 1 <= len(key) <= 80 or not _can_be_stored(key):
        raise WrongAnswer({"idempotency_key": _("must have 1 to 80 characters; a random UUID serves well")})
    try:
        return act(of, answer, key)
    except IntegrityError:  # the same request at the same moment: the other one stored it
        return act(of, answer, key)


def _stored_before(lease: Lease, answer: Answer, key: str, supersedes: Ranking | None = None) -> Ranking | None:
    earlier = Ranking.objects.filter(annotator=lease.annotator, key=key).first()
    if earlier is None:
        return None
    if (earlier.lease_id, earlier.supersedes_id) != (lease.pk, supersedes and supersedes.pk):
        raise KeyReused(_("This idempotency key was used before, for another judgement; make a new one for each."))
    if not answer.same_as(earlier):
        raise KeyReused(_("This request was sent before with another answer."))
    earlier.repeated = True
    return earlier


def _store(lease: Lease, answer: Answer, key: str, *, purpose: str, supersedes: Ranking | None = None) -> Ranking:
    return Ranking.objects.create(
        task_id=lease.task_id,
        annotator=lease.annotator,
        lease=lease,
        key=key,
        kind=lease.kind,
        purpose=purpose,
        made_by=lease.annotator.made_by,
        display_order=lease.display_order,
        guideline_id=lease.annotator.project.guideline_id,
        supersedes=supersedes,
        **asdict(answer),
    )


def _can_be_stored(text: str) -> bool:
    """PostgreSQL stores no NUL, and no database half a surrogate pair; JSON can bring both (\\u0000, \\ud800)."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_tiers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(tier, list) and tier and all(_is_int(position) for position in tier) for tier in value
    )
