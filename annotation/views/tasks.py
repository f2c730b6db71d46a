"""The tasks behind every number: a list with filters, and one task with its judgements."""

from django.core.paginator import Paginator
from django.db.models import Count, Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _

from annotation.access import MEASURES, MemberRequest, member_required
from annotation.comparisons import aggregate
from annotation.models import COUNTED, Membership, Project, Prompt, Ranking, Role, Task
from annotation.progress import tasks_in_state

PAGE = 50
STATES = {
    "waiting": _("Waiting for answers"),
    "open": _("Open"),
    "finished": _("Finished"),
    "several": _("Judged by several"),
}


@member_required(*MEASURES)
def tasks(request: MemberRequest) -> HttpResponse:
    """Filters: ?state=, ?tag=, and ?annotator= (repeated: tasks that each of them judged)."""
    project = request.membership.project
    state = request.GET.get("state", "")
    state = state if state in STATES else ""
    chosen = [int(pk) for pk in request.GET.getlist("annotator") if pk.isdecimal() and len(pk) < 19][:10]
    annotators = list(Membership.objects.filter(project=project, pk__in=chosen).select_related("user"))
    found = tasks_in_state(project, state)
    for annotator in annotators:
        found = found.filter(Exists(Ranking.objects.counted().filter(task=OuterRef("pk"), annotator=annotator)))
    if tag := request.GET.get("tag", ""):
        found = found.filter(prompt__in=_with_tag(project, tag))
    found = found.select_related("prompt").annotate(answers=Count("candidates")).order_by("position", "pk")
    context = {
        "project": project,
        "page": Paginator(found, PAGE).get_page(request.GET.get("page")),
        "states": STATES.items(),
        "state": state,
        "annotators": [_shown_name(request, annotator) for annotator in annotators],
        "tag": tag,
    }
    return render(request, "annotation/tasks.html", context)


@member_required(*MEASURES)
def task(request: MemberRequest, pk: int) -> HttpResponse:
    project = request.membership.project
    shown = get_object_or_404(Task.objects.select_related("prompt"), project=project, pk=pk)
    candidates = list(shown.candidates.all())
    letters = {candidate.pk: chr(ord("A") + n) for n, candidate in enumerate(candidates)}
    rankings = list(
        shown.rankings.filter(is_current=True).select_related("annotator__user", "guideline").order_by("created_at")
    )
    context = {
        "project": project,
        "task": shown,
        "candidates": [(letters[candidate.pk], candidate) for candidate in candidates],
        "rankings": [
            (ranking, _shown_name(request, ranking.annotator), _in_letters(ranking, letters)) for ranking in rankings
        ],
        "votes": [
            (letters[pair.i], letters[pair.j], pair) for pair in aggregate(r for r in rankings if r.purpose in COUNTED)
        ],
    }
    return render(request, "annotation/task.html", context)


def _shown_name(request: MemberRequest, annotator: Membership) -> str:
    """Managers know their people; engineers see pseudonyms, as exports do."""
    return annotator.name if request.membership.role == Role.MANAGER else annotator.pseudonym


def _with_tag(project: Project, tag: str) -> list[int]:
    """SQLite cannot look into JSON lists, so the tags are read here."""
    tagged = Prompt.objects.filter(project=project).exclude(tags=[]).values_list("pk", "tags")
    return [pk for pk, tags in tagged.iterator(chunk_size=5000) if tag in tags]


def _in_letters(ranking: Ranking, letters: dict[int, str]) -> str:
    """[[12], [15, 13]] reads "A > B = C", best first."""
    tiers = [" = ".join(sorted(letters.get(pk, "?") for pk in tier)) for tier in ranking.tiers or []]
    if ranking.unranked:
        tiers.append(", ".join(sorted(letters.get(pk, "?") for pk in ranking.unranked)))
    return " > ".join(tiers)
