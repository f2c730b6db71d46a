"""How far people agree: one sentence, one picture, then the figures, the same as `agreement --json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from annotation.access import MEASURES, MemberRequest, member_required
from annotation.agreement import Reason
from annotation.assignment import seats_added, set_overlap
from annotation.models import Project, Role
from annotation.quality import STRONG, USUAL, Quality, annotator_names, project_quality
from annotation.views.settings import effect

OFFERED_SHARE, OFFERED_PEOPLE = 0.15, 3  # the button "Let 3 people judge 15 %"
MOST_IN_MATRIX = 12  # people; a larger matrix cannot be read

# What stands in the report, by its path: name and meaning.
FIGURES = [
    (
        "pairwise.raw",
        gettext_lazy("Raw agreement"),
        gettext_lazy("Of two people's verdicts on a pair, how many are the same."),
    ),
    (
        "pairwise.alpha_nominal",
        gettext_lazy("Krippendorff's alpha, nominal"),
        gettext_lazy("Agreement beyond chance: 0 is chance, 1 is perfect. About 0.45 here is a raw agreement of 72 %."),
    ),
    (
        "pairwise.alpha_ordinal",
        gettext_lazy("Krippendorff's alpha, ordinal"),
        gettext_lazy("The same, where a tie is nearer to either side than the sides are to each other."),
    ),
    (
        "pairwise.fleiss_kappa",
        gettext_lazy("Fleiss' kappa"),
        gettext_lazy("Agreement beyond chance where every pair has the same number of verdicts."),
    ),
    (
        "rankings_tau_b.mean",
        gettext_lazy("Kendall's tau-b"),
        gettext_lazy("How alike two people order one task's answers: 1 the same, 0 unrelated, -1 reversed."),
    ),
    (
        "kendall_w.mean",
        gettext_lazy("Kendall's W"),
        gettext_lazy("How alike everybody orders one task's answers: 0 not at all, 1 the same."),
    ),
]


@dataclass(frozen=True)
class Range:
    """A row of the picture: a share with its interval, in percent."""

    name: str
    share: float
    interval: list[float] | None
    n: int
    annotator: int | None = None

    @property
    def percent(self) -> float:
        return self.share * 100

    @property
    def low(self) -> float:
        return (self.interval[0] if self.interval else self.share) * 100

    @property
    def high(self) -> float:
        return (self.interval[1] if self.interval else self.share) * 100

    @property
    def left(self) -> float:
        """Where the mark starts: its middle is the value, and it stays on the scale."""
        return min(max(self.percent - 0.4, 0), 99.2)

    @property
    def width(self) -> float:
        return self.high - self.low


@member_required(*MEASURES)
def quality(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    pseudonyms = request.membership.role != Role.MANAGER  # engineers see them, as exports do
    found = project_quality(project, pseudonyms=pseudonyms)
    members = {name: pk for pk, name in annotator_names(project, pseudonyms=pseudonyms).items()}
    context = {
        "project": project,
        "quality": found,
        "report": found.report,
        "ranges": _ranges(found),
        "usual": {"low": USUAL * 100, "high": STRONG * 100, "width": (STRONG - USUAL) * 100},
        "weakest_query": urlencode({"tag": found.summary.weakest.tag}) if found.summary.weakest else "",
        "calibration_percent": round(project.calibration_share * 100),
        "figures": [_figure(found.report, path, str(name), str(meaning)) for path, name, meaning in FIGURES],
        "matrix": _matrix(found.report, members),
        "models_reason": _reason(found.report, "pairwise.bradley_terry"),
        "may_offer": request.membership.role == Role.MANAGER and _measures_little(project),
    }
    return render(request, "annotation/quality.html", context)


@require_POST
@member_required(Role.MANAGER)
def quality_overlap(request: MemberRequest) -> HttpResponse:
    """ "Let 3 people judge 15 %"."""
    project = request.membership.project
    change: dict[str, Any] = {
        "overlap": project.overlap,
        "calibration_share": OFFERED_SHARE,
        "calibration_overlap": OFFERED_PEOPLE,
    }
    added = seats_added(project, **change)
    set_overlap(project, **change)
    messages.success(request, _("Three people will judge a part of the tasks, 15 %.") + " " + effect(added))
    return redirect("quality", project.slug)


def _measures_little(project: Project) -> bool:
    return project.overlap < 2 and project.calibration_share < OFFERED_SHARE


def _ranges(found: Quality) -> list[Range]:
    pairwise = found.report["pairwise"]
    if pairwise["raw"] is None:
        return []
    everybody = Range(_("Everybody"), pairwise["raw"], pairwise["raw_ci"], pairwise["units"])
    people = [
        Range(person.name, person.agreement, person.interval, person.shared_verdicts, person.membership.pk)
        for person in found.annotators
        if person.agreement is not None
    ]
    return [everybody, *sorted(people, key=lambda person: person.share)]


def _figure(report: dict[str, Any], path: str, name: str, meaning: str) -> dict[str, Any]:
    group, key = path.split(".")
    part = report[group]
    return {
        "name": name,
        "meaning": meaning,
        "value": part[key],
        "interval": part.get("ci" if key == "mean" else f"{key}_ci"),
        "n": part.get("pairs", part.get("items", part.get("units"))),
        "reason": _reason(report, path),
    }


def _reason(report: dict[str, Any], path: str) -> str:
    """Why a figure is undefined; empty if it is not."""
    reason = report["undefined"].get(path, "")
    if isinstance(reason, Reason):
        return _(reason.template) % reason.figures
    return _(reason) if reason else ""


def _matrix(report: dict[str, Any], members: dict[str, int]) -> dict[str, Any]:
    """Cohen's kappa of every two people: a square for a few, else the couples, weakest first."""
    kappas = report["pairwise"]["cohen_kappa"] or {}
    couples = [(*couple.split("|"), kappa) for couple, kappa in kappas.items()]
    names = sorted({name for one, other, _kappa in couples for name in (one, other)})
    known = {frozenset(couple): kappa for *couple, kappa in couples}
    square = [
        (
            one,
            [
                (members[one], members[other], frozenset((one, other)) in known, known.get(frozenset((one, other))))
                for other in names
            ],
        )
        for one in names
    ]
    weakest = sorted(couples, key=lambda couple: (couple[2] is None, couple[2]))
    return {
        "names": names,
        "square": square if len(names) <= MOST_IN_MATRIX else [],
        "weakest": [(one, members[one], other, members[other], kappa) for one, other, kappa in weakest[:30]],
        "couples": len(couples),
        "reason": _reason(report, "pairwise.cohen_kappa"),
    }
