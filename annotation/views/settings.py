"""A project's settings, and its switch."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from annotation.access import MemberRequest, member_required
from annotation.assignment import seats_added, set_overlap
from annotation.models import Project, Role
from annotation.project_forms import SettingsForm


@member_required(Role.MANAGER)
def settings(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    form = SettingsForm(request.POST or None, instance=project)
    if request.method == "POST" and form.is_valid():
        overlap = form.overlap()
        added = seats_added(project, **overlap)
        project.save(update_fields=["title", "answers_per_task", "lease_minutes"])
        set_overlap(project, **overlap)
        messages.success(request, _("Saved.") + " " + effect(added) if added else _("Saved."))
        return redirect("settings", project.slug)
    context = {"project": project, "form": form}
    return render(request, "annotation/settings.html", context, status=422 if form.is_bound else 200)


@require_POST
@member_required(Role.MANAGER)
def settings_effect(request: MemberRequest) -> HttpResponse:
    """What the overlap that stands in the form would cost, before it is saved."""
    project = request.membership.project
    form = SettingsForm(request.POST, instance=project)
    added = seats_added(project, **form.overlap()) if form.is_valid() else None
    return render(request, "annotation/settings.html#effect", {"effect": None if added is None else effect(added)})


@require_POST
@member_required(Role.MANAGER)
def settings_state(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    paused = request.POST.get("state") == Project.State.PAUSED
    project.state = Project.State.PAUSED if paused else Project.State.ACTIVE
    project.save(update_fields=["state"])
    if paused:
        messages.success(request, _("Paused: people finish the task they hold, nobody gets a new one."))
    else:
        messages.success(request, _("Resumed: people get tasks again."))
    return redirect("overview" if request.POST.get("next") == "overview" else "settings", project.slug)


def effect(added: int) -> str:
    """What a change of overlap does, in one sentence."""
    if added > 0:
        return ngettext("This adds %(n)d judgement.", "This adds %(n)d judgements.", added) % {"n": added}
    if added < 0:
        text = ngettext(
            "This spares %(n)d judgement; none that was made is lost.",
            "This spares %(n)d judgements; none that were made are lost.",
            -added,
        )
        return text % {"n": -added}
    return _("This changes nothing on the tasks that exist.")
