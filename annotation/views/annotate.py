"""The annotator's page: one task at a time, drafts kept, every answer stored once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import replace_url

from annotation.access import ANNOTATES, MemberRequest, member_required
from annotation.assignment import SeatLost, next_task, renew, skip
from annotation.forms import BallotForm, DraftForm, RankingForm, as_initial
from annotation.models import Lease, Membership, Ranking, Role, Task
from annotation.own_work import Judgement, done_today, judged_by, letter, why_idle
from annotation.rankings import AlreadyAmended, KeyReused, WrongAnswer, last_ranking, save_draft, submit_ranking
from annotation.rankings import amend as amend_ranking
from annotation.rendering import direction_of, length_of, render_markdown

PAGE = "annotation/annotate.html"
HISTORY_PAGE = 25


@dataclass(frozen=True)
class Card:
    """One answer as the annotator sees it: nothing here says which row it is or who wrote it."""

    position: int
    text: str
    html: SafeString
    length: str
    cut: bool
    rank: int | None

    @property
    def letter(self) -> str:
        return letter(self.position)


@never_cache
@member_required(*ANNOTATES)
def annotate(request: MemberRequest) -> HttpResponse:
    """The next task, or with ?amend=ID one's own earlier judgement, opened again."""
    if public_id := request.GET.get("amend"):
        ranking = _own_ranking(request, public_id)
        assert ranking.lease is not None  # imported judgements have none, and are not found
        return _show_ballot(request, _lease(request, ranking.lease.public_id), amends=ranking)
    return _show_next(request, request.membership)


@login_required
def submit(request: HttpRequest, lease_id: uuid.UUID) -> HttpResponse:
    lease = _lease(request, lease_id)  # in any state: a retry must find it
    if request.method != "POST":  # a login came in between
        return redirect("annotate", lease.annotator.project.slug)
    form = RankingForm(request.POST, lease=lease)
    if not form.is_valid():
        return _show_ballot(request, lease, form=form, status=422)
    try:
        submit_ranking(lease, form.answer, key=form.cleaned_data["key"])
    except SeatLost:
        return _show_lost(request, lease, kept=True)
    except (KeyReused, WrongAnswer) as error:
        form.add_error(None, str(error))
        return _show_ballot(request, lease, form=form, status=422)
    return _go_on(request, lease.annotator, _("Saved."))


@login_required
def amend(request: HttpRequest, ranking_id: uuid.UUID) -> HttpResponse:
    rankings = Ranking.objects.held_by(request.user).filter(lease__isnull=False)
    ranking = get_object_or_404(rankings, public_id=ranking_id)
    assert ranking.lease is not None
    lease = _lease(request, ranking.lease.public_id)
    if request.method != "POST":
        return redirect("annotate", lease.annotator.project.slug)
    form = RankingForm(request.POST, lease=lease)
    if form.is_valid():
        try:
            amend_ranking(ranking, form.answer, key=form.cleaned_data["key"])
            return _go_on(request, lease.annotator, _("Changed."))
        except (AlreadyAmended, KeyReused, WrongAnswer) as error:
            form.add_error(None, str(error))
    return _show_ballot(request, lease, form=form, amends=ranking, status=422)


@login_required
def skip_task(request: HttpRequest, lease_id: uuid.UUID) -> HttpResponse:
    lease = _lease(request, lease_id)
    if request.method != "POST":
        return redirect("annotate", lease.annotator.project.slug)
    reason = request.POST.get("reason", "")
    if reason not in Lease.SkipReason.values:
        return _show_ballot(request, lease, problem=_("Choose a reason to skip."), status=422)
    try:
        skip(lease, Lease.SkipReason(reason))
    except SeatLost:
        return _show_lost(request, lease, kept=False)
    return _go_on(request, lease.annotator, _("Skipped."))


@require_POST
@login_required
def draft(request: HttpRequest, lease_id: uuid.UUID) -> HttpResponse:
    lease = _lease(request, lease_id)
    form = DraftForm(request.POST, lease=lease)
    if not form.is_valid():
        return HttpResponse(form.errors.as_text(), status=422, content_type="text/plain")
    kept = save_draft(lease, form.draft(), counter=form.cleaned_data["counter"])
    return HttpResponse(status=204 if kept else 409)


@require_POST
@login_required
def renew_lease(request: HttpRequest, lease_id: uuid.UUID) -> HttpResponse:
    return HttpResponse(status=204 if renew(_lease(request, lease_id)) else 409)


@never_cache
@member_required(Role.MANAGER)
def preview(request: MemberRequest) -> HttpResponse:
    """The page as annotators see it, over the project's tasks in turn. No lease is taken, no judgement stored."""
    project = request.membership.project
    if request.method == "GET" and project.previewed_at is None:
        project.previewed_at = timezone.now()
        project.save(update_fields=["previewed_at"])
    tasks = Task.objects.filter(project=project, ready=True).select_related("prompt").order_by("position", "pk")
    page = Paginator(tasks, 1).get_page(request.GET.get("n"))
    if not page.object_list:
        context = {"idle": why_idle(request.membership), "preview": True, "project": project}
        return render(request, PAGE, context)
    order = list(page[0].candidates.values_list("pk", flat=True))
    lease = Lease(task=page[0], annotator=request.membership, display_order=order)
    form = RankingForm(request.POST, lease=lease) if request.method == "POST" else None
    if form and form.is_valid():
        messages.info(request, _("This was a preview: nothing was stored."))
        following = page.next_page_number() if page.has_next() else 1
        return redirect(f"{reverse('preview', args=[project.slug])}?n={following}")
    return _show_ballot(request, lease, form=form, preview=page, status=422 if form else 200)


@never_cache
@member_required(*ANNOTATES)
def history(request: MemberRequest) -> HttpResponse:
    page = Paginator(judged_by(request.membership), HISTORY_PAGE).get_page(request.GET.get("page"))
    judgements = [Judgement(ranking) for ranking in page]
    context = {"project": request.membership.project, "page": page, "judgements": judgements}
    return render(request, "annotation/history.html", context)


def _lease(request: HttpRequest, lease_id: uuid.UUID) -> Lease:
    leases = Lease.objects.held_by(request.user).select_related("annotator__project__guideline", "task__prompt")
    return get_object_or_404(leases, public_id=lease_id)


def _own_ranking(request: MemberRequest, public_id: str) -> Ranking:
    try:
        wanted = uuid.UUID(public_id)
    except ValueError as error:
        raise Http404 from error
    mine = Ranking.objects.counted().filter(annotator=request.membership, lease__isnull=False)
    return get_object_or_404(mine.select_related("lease"), public_id=wanted)


def _show_next(request: HttpRequest, annotator: Membership, *, said: str = "") -> HttpResponse:
    lease = next_task(annotator)
    if lease:
        return _show_ballot(request, lease, said=said)
    context = {"idle": why_idle(annotator), "said": said, "project": annotator.project, "today": done_today(annotator)}
    return render(request, _template(request), context | {"last": last_ranking(annotator)})


def _show_ballot(
    request: HttpRequest,
    lease: Lease,
    *,
    form: BallotForm | None = None,
    amends: Ranking | None = None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    form = form or RankingForm(initial=as_initial(amends) if amends else lease.draft or {}, lease=lease)
    project = lease.annotator.project
    context |= {
        "lease": lease,
        "form": form,
        "amends": amends,
        "project": project,
        "prompt": lease.task.prompt,
        "question": render_markdown(lease.task.prompt.last_user_turn),
        "direction": direction_of(lease.task.prompt.last_user_turn),
        "cards": [
            Card(
                position=position,
                text=candidate.text,
                html=render_markdown(candidate.text),
                length=length_of(candidate.text),
                cut=candidate.cut,
                rank=_as_rank(form[f"rank_{position}"].value()),
            )
            for position, candidate in enumerate(lease.candidates_as_shown(), 1)
        ],
        "key": form["key"].value() or uuid.uuid4(),
        "guideline": project.guideline,
        "guideline_html": render_markdown(project.guideline.text, first_heading=3) if project.guideline else "",
        "today": done_today(lease.annotator),
        "last": None if amends else last_ranking(lease.annotator),
        "skip_reasons": Lease.SkipReason.choices,
    }
    return render(request, _template(request), context, status=status)


def _show_lost(request: HttpRequest, lease: Lease, *, kept: bool) -> HttpResponse:
    """The one place where a lost race is told. What was sent is kept, and said to be."""
    lease.refresh_from_db(fields=["state"])
    context = {"lost": lease.state, "kept": kept, "project": lease.annotator.project}
    return render(request, _template(request), context, status=409)


def _go_on(request: HttpRequest, annotator: Membership, said: str) -> HttpResponse:
    """After a form was stored: the next task in the same answer where htmx asked, else a redirect to it."""
    address = reverse("annotate", args=[annotator.project.slug])
    if request.htmx:  # type: ignore[attr-defined]
        return replace_url(_show_next(request, annotator, said=said), address)
    messages.success(request, said)
    return redirect(address)


def _template(request: HttpRequest) -> str:
    return f"{PAGE}#task" if request.htmx else PAGE  # type: ignore[attr-defined]


def _as_rank(value: object) -> int | None:
    return int(str(value)) if str(value).isdecimal() else None
