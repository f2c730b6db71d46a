"""How good the judgements of a project are: reads its rows, calls `agreement`, and says it in one sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from django.db.models import Count, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation import agreement
from annotation.agreement import Judgement
from annotation.models import Candidate, Membership, Project, Ranking, Task

ENOUGH_PAIRS = 50  # fewer shared pairs say nothing reliable
USUAL, STRONG = 0.6, 0.8  # raw agreement of people on preferences is mostly between these

LEVELS = {
    "none": gettext_lazy("not measured"),
    "few": gettext_lazy("too few data"),
    "weak": gettext_lazy("weak"),
    "usual": gettext_lazy("usual for preferences"),
    "strong": gettext_lazy("strong"),
}


@dataclass(frozen=True)
class Weakest:
    """The tag whose tasks people agree on least."""

    tag: str
    raw: float
    tasks: int


@dataclass(frozen=True)
class Summary:
    level: str  # a key of LEVELS
    sentence: str
    weakest: Weakest | None = None


@dataclass
class AnnotatorQuality:
    """What one person did, and how far the others agree with it."""

    membership: Membership
    name: str
    rankings: int = 0
    all_bad: int = 0
    median_seconds: float | None = None
    agreement: float | None = None  # of their verdicts beside another's on the same pair, the share that agree
    interval: list[float] | None = None  # of the agreement, 95 %
    shared_verdicts: int = 0

    def as_dict(self) -> dict[str, Any]:
        row = {key: value for key, value in vars(self).items() if key != "membership"}
        return {**row, "made_by": self.membership.made_by}


@dataclass
class Quality:
    report: dict[str, Any]  # as `agreement --json` has it
    summary: Summary
    annotators: list[AnnotatorQuality] = field(default_factory=list)


def project_agreement(project: Project, *, pseudonyms: bool = False) -> dict[str, Any]:
    """`agreement --json` of a project."""
    names = annotator_names(project, pseudonyms=pseudonyms)
    return agreement.measure(judgements(project, names), candidate_models(project))


def project_quality(project: Project, *, pseudonyms: bool = False) -> Quality:
    """Agreement, its sentence, and a row for every annotator who judged."""
    names = annotator_names(project, pseudonyms=pseudonyms)
    rows = list(judgements(project, names))
    report = agreement.measure(rows, candidate_models(project))
    table = agreement.collect(rows)
    return Quality(
        report=report,
        summary=summarise(report, _weakest_tag(project, table)),
        annotators=_annotators(project, names, table),
    )


def judgements(project: Project, names: dict[int, str]) -> Iterator[Judgement]:
    """Every counted judgement, in the order of tasks and people, so that the same rows give the same numbers."""
    rankings = Ranking.objects.counted().filter(task__project=project).order_by("task_id", "annotator_id", "pk")
    for task, annotator, *answer in rankings.values_list(
        "task_id", "annotator_id", "tiers", "unranked", "all_bad"
    ).iterator(chunk_size=2000):
        yield Judgement(task, names[annotator], *answer)


def candidate_models(project: Project) -> dict[int, str]:
    """The model of each candidate that someone judged."""
    judged = Candidate.objects.filter(task__project=project, task__judged__gt=0).exclude(model_name="")
    return dict(judged.order_by().values_list("pk", "model_name").iterator(chunk_size=5000))


def annotator_names(project: Project, *, pseudonyms: bool = False) -> dict[int, str]:
    """What managers call each member; two of one name (a user, an imported id) are told apart by the pseudonym."""
    members = list(project.memberships.select_related("user"))
    if pseudonyms:
        return {member.pk: member.pseudonym for member in members}
    twice = {name for name, number in Counter(member.name for member in members).items() if number > 1}
    return {
        member.pk: f"{member.name} ({member.pseudonym})" if member.name in twice else member.name for member in members
    }


def level_of(report: dict[str, Any]) -> str:
    raw, units = report["pairwise"]["raw"], report["pairwise"]["units"]
    if raw is None:
        return "none"
    if units < ENOUGH_PAIRS:
        return "few"
    return "weak" if raw < USUAL else "usual" if raw < STRONG else "strong"


def percent(share: float) -> str:
    """
    >>> percent(0.714)
    '71 %'
    """
    return _("%(n)s %%") % {"n": f"{share * 100:.0f}"}


def summarise(report: dict[str, Any], weakest: Weakest | None = None) -> Summary:
    """The one sentence that opens the quality page."""
    level = level_of(report)
    if level == "none":
        if not report["rankings"]:
            return Summary(level, _("Nobody has judged yet."))
        return Summary(level, _("Nobody's work overlaps, so agreement cannot be measured."))
    interval = report["pairwise"]["raw_ci"]
    numbers = {
        "raw": percent(report["pairwise"]["raw"]),
        "interval": f" [{interval[0] * 100:.0f}, {interval[1] * 100:.0f}]" if interval else "",
        "units": report["pairwise"]["units"],
        "level": LEVELS[level],
    }
    if level == "few":
        sentence = _(
            "Two people agree on %(raw)s%(interval)s of pairs; %(units)d shared pairs are too few to trust it."
        )
        return Summary(level, sentence % numbers)
    sentence = _("Two people agree on %(raw)s%(interval)s of pairs, %(level)s.") % numbers
    if weakest:
        sentence += " " + _("Weakest: %(tag)s, %(share)s.") % {"tag": weakest.tag, "share": percent(weakest.raw)}
    return Summary(level, sentence, weakest)


def _weakest_tag(project: Project, table: agreement.Verdicts) -> Weakest | None:
    """The tag with the lowest raw agreement, of those with enough shared pairs; None when fewer than two have."""
    counts = table.counts
    judges = counts.sum(axis=1)
    shared = judges >= 2
    agreeing = (counts * (counts - 1)).sum(axis=1)[shared] / (judges * (judges - 1))[shared]
    by_task: dict[int, list[float]] = defaultdict(list)
    for task, share in zip(table.task[shared].tolist(), agreeing.tolist(), strict=True):
        by_task[task].append(share)
    by_tag: dict[str, list[list[float]]] = defaultdict(list)
    tagged = Task.objects.filter(project=project, judged__gt=1).exclude(prompt__tags=[])
    for task, tags in tagged.values_list("pk", "prompt__tags").iterator(chunk_size=2000):
        for tag in tags if task in by_task else []:
            by_tag[tag].append(by_task[task])
    found = [
        Weakest(tag, sum(map(sum, tasks)) / units, len(tasks))
        for tag, tasks in by_tag.items()
        if (units := sum(map(len, tasks))) >= ENOUGH_PAIRS
    ]
    return min(found, key=lambda weakest: (weakest.raw, weakest.tag)) if len(found) > 1 else None


def _annotators(project: Project, names: dict[int, str], table: agreement.Verdicts) -> list[AnnotatorQuality]:
    counted = Ranking.objects.counted().filter(task__project=project)
    seconds: dict[int, list[float]] = defaultdict(list)
    timed = counted.exclude(seconds=None).order_by()
    for annotator, value in timed.values_list("annotator_id", "seconds").iterator(chunk_size=5000):
        seconds[annotator].append(value or 0.0)
    totals = (
        counted.order_by()
        .values("annotator")
        .annotate(rankings=Count("pk"), all_bad=Count("pk", filter=Q(all_bad=True)))
    )
    people = project.memberships.select_related("user").in_bulk(row["annotator"] for row in totals)
    shares = agreement.agreement_by_annotator(agreement.pair_up(table), table.annotators)
    rows = []
    for row in totals:
        name = names[row["annotator"]]
        share, interval, shared = shares.get(name, (None, None, 0))
        times = seconds.get(row["annotator"])
        rows.append(
            AnnotatorQuality(
                membership=people[row["annotator"]],
                name=name,
                rankings=row["rankings"],
                all_bad=row["all_bad"],
                median_seconds=median(times) if times else None,
                agreement=share,
                interval=interval,
                shared_verdicts=shared,
            )
        )
    return sorted(rows, key=lambda row: (-row.rankings, row.name))
