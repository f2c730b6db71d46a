"""How a run stands, in words: what is going on, what to do next, how long it takes. All of it from rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from training.models import Run
from training.queue import GIVES_WAY, LOST_AFTER, live_workers, waiting_before

SILENT_AFTER = timedelta(minutes=5)  # a first step may take this long: models are loaded, data is prepared
STALLED_STEPS = 10  # silent for so many times the usual time of a step
PHASES = {  # of recipes; the others go without saying
    "loading": gettext_lazy("loading the model"),
    "saving": gettext_lazy("saving the model"),
    "measuring": gettext_lazy("measuring"),
    "scoring": gettext_lazy("scoring"),
}


class Badge(NamedTuple):
    tone: str  # its class: info, ok, warn, bad or nothing
    word: str


@dataclass(frozen=True)
class Standing:
    badge: Badge
    sentence: str
    advice: str = ""
    command: str = ""  # to type into a shell


def badge(run: Run, now: datetime) -> Badge:
    """The state in one word. Costs no query: lists show many."""
    word = run.get_state_display()
    match run.state:
        case Run.State.RUNNING:
            if run.cancel_requested:
                return Badge("warn", _("Stopping"))
            if unheard(run, now):
                return Badge("bad", _("Lost"))
            return Badge("bad", _("Stalled")) if silence(run, now) else Badge("info", word)
        case Run.State.SUCCEEDED:
            return Badge("ok", word)
        case Run.State.FAILED:
            return Badge("bad", word)
    return Badge("", word)


def standing(run: Run, *, now: datetime | None = None) -> Standing:
    now = now or timezone.now()
    match run.state:
        case Run.State.QUEUED:
            return _queued(run, badge(run, now))
        case Run.State.RUNNING:
            return _running(run, badge(run, now), now)
        case Run.State.SUCCEEDED:
            return _succeeded(run, badge(run, now))
        case Run.State.FAILED:
            reason = {"time": spell(duration(run, now)), "error": told(run.error)}
            return Standing(
                badge(run, now),
                (_("Failed after %(time)s: %(error)s") if run.started_at else _("Failed: %(error)s")) % reason,
                _("The log has the details. Resume goes on from the last checkpoint; Clone lets you change settings."),
            )
    return Standing(
        badge(run, now),
        _("Cancelled at %(progress)s.") % {"progress": progress(run)}
        if run.step and run.total_steps
        else _("Cancelled before its first step."),
        _("Resume goes on from the last checkpoint, or from the beginning if there is none."),
    )


def _queued(run: Run, badge: Badge) -> Standing:
    before = waiting_before(run).count()
    if run.error:  # it ran before, and its worker was lost
        place = _("Interrupted, waiting to go on from its last checkpoint. %(reason)s") % {"reason": told(run.error)}
    elif before:
        waiting = ngettext("Waiting: %(n)s run is before it.", "Waiting: %(n)s runs are before it.", before)
        place = waiting % {"n": before}
    else:
        place = _("Waiting: next in the queue.")
    if live_workers(run.device):
        running = Run.objects.filter(state=Run.State.RUNNING)
        busy = before or (running if run.method == GIVES_WAY else running.exclude(method=GIVES_WAY)).exists()
        return Standing(
            badge, place, _("It starts when the run before it is over.") if busy else _("It starts in seconds.")
        )
    others = ", ".join(sorted({worker.device for worker in live_workers()}))
    advice = (
        _("The workers that are running serve %(others)s, not %(device)s. Start one:")
        % {"device": run.device, "others": others}
        if others
        else _("No worker is running. Start one:")
    )
    return Standing(badge, place, advice, run_worker_command(run.device))


def _running(run: Run, badge: Badge, now: datetime) -> Standing:
    doing = str(PHASES.get(run.phase, ""))
    if run.total_steps:
        words = _("Running, %(progress)s: %(doing)s.") if doing else _("Running, %(progress)s.")
        place = words % {"progress": progress(run), "doing": doing}
    else:
        place = _("Running: %(doing)s.") % {"doing": doing or _("starting up")}
    if run.cancel_requested:
        return Standing(badge, place, _("It was asked to stop and ends after the present step."))
    if unheard_for := unheard(run, now):
        place = _("Nothing was heard from its worker for %(time)s.") % {"time": spell(unheard_for)}
        if live_workers(run.device):
            return Standing(badge, place, _("Another worker takes it up and goes on from the last checkpoint."))
        advice = _("The next worker goes on from the last checkpoint. Start one:")
        return Standing(badge, place, advice, run_worker_command(run.device))
    if silent := silence(run, now):
        return Standing(
            badge,
            _("Stalled at %(progress)s: no progress for %(time)s.")
            % {"progress": progress(run) or doing or _("its start"), "time": spell(silent)},
            _("It may hang. If nothing moves at the end of the log either, cancel it and resume."),
        )
    left = time_left(run, now)
    if left is not None:
        place += " " + _("About %(time)s left.") % {"time": spell(left)}
    return Standing(badge, place)


def _succeeded(run: Run, badge: Badge) -> Standing:
    took = {"time": spell(duration(run, timezone.now())), "model": getattr(run, "model", None)}
    if took["model"]:
        return Standing(badge, _("Finished in %(time)s and made the model %(model)s.") % took)
    return Standing(badge, _("Finished in %(time)s.") % took)


def told(error: str) -> str:
    """Workers and recipes write in English; sentences that hold no figures are known in other languages."""
    return _(error) if error else ""


def progress(run: Run) -> str:
    """`step 12 of 60`; empty while nobody knows how many there are."""
    where = {"step": intcomma(run.step), "total": intcomma(run.total_steps)}
    if not run.total_steps:
        return ""
    if run.method in ("generate", "evaluate"):
        return _("%(step)s of %(total)s answers") % where
    return _("step %(step)s of %(total)s") % where


def unheard(run: Run, now: datetime) -> timedelta | None:
    """For how long the run's worker was not heard, if so long that it counts as lost."""
    silent = now - run.heartbeat_at if run.heartbeat_at else timedelta(0)
    return silent if silent > LOST_AFTER else None


def silence(run: Run, now: datetime) -> timedelta | None:
    """For how long the recipe made no progress, if far longer than its steps take: it may be stalled."""
    since = run.progressed_at or run.started_at or now
    usual = STALLED_STEPS * (step_time(run) or timedelta(0))
    return now - since if now - since > max(SILENT_AFTER, usual) else None


def step_time(run: Run) -> timedelta | None:
    """The mean time of a step. Unknown for a resumed run: rows do not say at which step it went on."""
    if not run.step or run.attempts > 1 or run.started_at is None or run.progressed_at is None:
        return None
    return (run.progressed_at - run.started_at) / run.step


def time_left(run: Run, now: datetime) -> timedelta | None:
    each = step_time(run)
    if each is None or run.progressed_at is None or not run.total_steps:
        return None
    return max(each * (run.total_steps - run.step) - (now - run.progressed_at), timedelta(0))


def duration(run: Run, now: datetime) -> timedelta:
    return (run.ended_at or now) - run.started_at if run.started_at else timedelta(0)


def spell(time: timedelta) -> str:
    """A duration as people say it.

    >>> [spell(timedelta(seconds=s)) for s in (0.4, 9, 61, 3540, 3700, 180_000)]
    ['1 s', '9 s', '1 min', '59 min', '1 h 1 min', '50 h']
    """
    seconds = max(round(time.total_seconds()), 1)
    if seconds < 60:
        return _("%(n)s s") % {"n": seconds}
    minutes = seconds // 60
    if minutes < 60:
        return _("%(n)s min") % {"n": minutes}
    hours, rest = divmod(minutes, 60)
    if rest and hours < 10:
        return _("%(h)s h %(m)s min") % {"h": hours, "m": rest}
    return _("%(n)s h") % {"n": hours}


def run_worker_command(device: str) -> str:
    return "manage.py run_worker" + ("" if device == "cpu" else f" --device {device}")
