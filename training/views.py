"""A project's data: what came in, what a model adds, what is frozen and taken out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotation import exports
from annotation.access import MEASURES, MemberRequest, member_required
from annotation.models import Project, Role
from training import launches, snapshots
from training.data_forms import GenerateForm, SnapshotForm
from training.models import Dataset, Run
from training.queue import WrongConfig, WrongState, live_workers
from training.registry import UnknownModel, resolve
from training.standing import spell, standing

SNAPSHOTS = 10  # the newest; the admin lists all
EXPORTS = {
    "preference": gettext_lazy("Preferences"),
    "unpaired_preference": gettext_lazy("Unpaired preferences"),
    "prompt_only": gettext_lazy("Prompts"),
    "prompt_completion": gettext_lazy("Prompts with their best answers"),
    "rankings": gettext_lazy("Rankings, to import again"),
}


@member_required(*MEASURES)
def data(request: MemberRequest) -> HttpResponse:
    return render(request, "training/data.html", _data_page(request))


@member_required(*MEASURES)
def generate(request: MemberRequest) -> HttpResponse:
    """POST starts; GET, by htmx, shows how far it is, or what another choice would cost."""
    project = request.membership.project
    form = GenerateForm(request.POST or request.GET, project=project)
    if request.method == "POST":
        return _start(request, form)
    if not request.htmx:
        return redirect("data", project.slug)
    if request.htmx.target == "plan":
        return render(request, "training/data.html#plan", {"plan": _plan(project, form)})
    if launches.generation_of(project) is None:
        return HttpResponseClientRefresh()  # it ended: every number of the page is new
    return render(request, "training/data.html#generation", _generation(project))


@require_POST
@member_required(*MEASURES)
def stop(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    if launches.stop_generation(project):
        messages.success(request, _("Stopping. The answers that are there stay."))
    return redirect("data", project.slug)


@member_required(*MEASURES)
def snapshot(request: MemberRequest) -> HttpResponse:
    """GET shows what would be frozen, POST freezes it."""
    project = request.membership.project
    form = SnapshotForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            dataset = snapshots.freeze(project, form.cleaned_data["name"], by=request.membership.user)
        except (snapshots.NothingToFreeze, snapshots.NameTaken) as refusal:
            form.add_error("name", str(refusal))
        else:
            messages.success(request, _("%(name)s is frozen. It never changes again.") % {"name": dataset.name})
            return redirect("data", project.slug)
    summary = snapshots.preview(project)
    splits = [(label, summary.splits.get(value)) for value, label in exports.SPLITS]
    context = {"project": project, "form": form, "summary": summary, "splits": splits}
    return render(request, "training/snapshot.html", context, status=422 if form.is_bound else 200)


@member_required(*MEASURES)
def export(request: MemberRequest) -> HttpResponseBase:
    """JSON lines, streamed: a file of any size takes no memory here."""
    project = request.membership.project
    kind = request.GET.get("type", "")
    if kind not in exports.TYPES:
        raise Http404
    rows = exports.export_rows(project, kind)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    response = StreamingHttpResponse(lines, content_type="application/jsonl; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-{kind}.jsonl"'
    return response


def _start(request: MemberRequest, form: GenerateForm) -> HttpResponse:
    project = request.membership.project
    if not form.is_valid():
        return render(request, "training/data.html", _data_page(request, form), status=422)
    chosen = {"model": form.cleaned_data["model"], "per_prompt": form.cleaned_data["per_prompt"]}
    try:
        launches.launch_generation(project, by=request.membership.user, **chosen)
    except (launches.NoModel, launches.NothingToAnswer, UnknownModel, WrongState, WrongConfig) as refusal:
        messages.error(request, str(refusal))
    return redirect("data", project.slug)


def _data_page(request: MemberRequest, form: GenerateForm | None = None) -> dict[str, Any]:
    project = request.membership.project
    datasets = Dataset.objects.filter(project=project).order_by("-created_at", "-pk")
    return {
        **_generation(project, form),
        "datasets": datasets[:SNAPSHOTS],
        "trains": request.membership.role == Role.ENGINEER,
        "methods": [("reward", _("Train a reward model")), ("dpo", _("Train with DPO"))],
        "export_types": [(kind, EXPORTS[kind]) for kind in exports.TYPES],
    }


def _generation(project: Project, form: GenerateForm | None = None) -> dict[str, Any]:
    """How far answering is: what runs now, or what could be started and how the last time ended."""
    run = launches.generation_of(project)
    last = Run.objects.filter(project=project, method="generate").order_by("-pk").first()
    shown = run or (last if last and last.state == Run.State.FAILED else None)
    form = form or GenerateForm(project=project)
    return {
        "project": project,
        "counts": exports.counts(project),
        "run": run,
        "standing": standing(shown) if shown else None,
        "form": form,
        "plan": None if run else _plan(project, form),
        "workers": bool(live_workers()),
    }


def _plan(project: Project, form: GenerateForm) -> dict[str, Any]:
    """What the form as it stands would do, in numbers and words."""
    values = form.cleaned_data if form.is_bound and form.is_valid() else {}
    model = values.get("model") or form.initial["model"]
    plan = launches.plan_generation(
        project, model=resolve(model) if model else None, per_prompt=values.get("per_prompt") or None
    )
    return {"prompts": plan.prompts, "answers": plan.answers, "time": spell(timedelta(seconds=plan.seconds))}
