"""The guideline: written in Markdown, published in versions."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from annotation.access import MemberRequest, member_required
from annotation.models import Guideline, Role
from annotation.project_forms import GuidelineForm
from annotation.projects import PublishedMeanwhile, publish_guideline
from annotation.rendering import render_markdown


@member_required(Role.MANAGER)
def guideline(request: MemberRequest) -> HttpResponse:
    return _page(request, GuidelineForm(current=_newest(request)))


@require_POST
@member_required(Role.MANAGER)
def guideline_preview(request: MemberRequest) -> HttpResponse:
    """The text as annotators will see it; without htmx the whole page comes again, with the preview in it."""
    text = request.POST.get("text", "")
    if request.htmx:
        return render(request, "annotation/guideline.html#preview", {"preview": _html(text)})
    return _page(request, GuidelineForm(current=_newest(request), text=text))


@require_POST
@member_required(Role.MANAGER)
def guideline_publish(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    form = GuidelineForm(request.POST, current=_newest(request))
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        version = publish_guideline(project, by=request.user, **form.cleaned_data)
    except PublishedMeanwhile:
        form.add_error("text", _("Someone published another version meanwhile: compare it with yours in another tab."))
        return _page(request, form, status=409)
    messages.success(request, _("Version %(version)s is published.") % {"version": version.version})
    return redirect("guideline", project.slug)


@member_required(Role.MANAGER)
def guideline_version(request: MemberRequest, version: int) -> HttpResponse:
    shown = get_object_or_404(Guideline, project=request.membership.project, version=version)
    context = {"project": request.membership.project, "guideline": shown, "html": _html(shown.text)}
    return render(request, "annotation/guideline_version.html", context)


def _html(text: str) -> str:
    return render_markdown(text, first_heading=2)


def _newest(request: MemberRequest) -> Guideline | None:
    return Guideline.objects.filter(project=request.membership.project).first()


def _page(request: MemberRequest, form: GuidelineForm, *, status: int = 200) -> HttpResponse:
    project = request.membership.project
    versions = list(project.guidelines.select_related("published_by"))
    context = {
        "project": project,
        "form": form,
        "preview": _html(str(form["text"].value() or "")),
        "versions": versions,
        "next_version": (versions[0].version if versions else 0) + 1,
    }
    return render(request, "annotation/guideline.html", context, status=status)
