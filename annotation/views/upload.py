"""Prompts and finished rankings come in by a file."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.access import MEASURES, MemberRequest, member_required
from annotation.imports import BadFile, ImportRefused, ImportReport, import_prompts, import_rankings
from annotation.project_forms import UploadForm

SHOWN = 100  # bad lines that are listed; the rest is counted


@member_required(*MEASURES)
def upload(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    form = UploadForm(request.POST or None, request.FILES or None)
    report, problems = None, []
    if request.method == "POST" and form.is_valid():
        store = import_rankings if form.cleaned_data["content"] == "rankings" else import_prompts
        try:
            report = store(project, form.cleaned_data["file"], skip_bad=form.cleaned_data["skip_bad"])
        except BadFile as error:
            form.add_error("file", str(error))
        except ImportRefused as refusal:
            problems = refusal.problems
        else:
            messages.success(request, stored(report))
            if not report.bad and not report.duplicates:
                return redirect("data", project.slug)
            form = UploadForm()
    context = {
        "project": project,
        "form": form,
        "most": settings.MAX_UPLOAD_MB,
        "report": report,
        "problems": problems[:SHOWN],
        "problem_count": len(problems),
        "bad": report.bad[:SHOWN] if report else [],
        "duplicates": report.duplicates[:SHOWN] if report else [],
    }
    failed = form.is_bound and report is None
    return render(request, "annotation/upload.html", context, status=422 if failed else 200)


def stored(report: ImportReport) -> str:
    """What an import left behind, in one sentence."""
    parts = [
        (report.prompts, ngettext("%(n)d prompt", "%(n)d prompts", report.prompts)),
        (report.candidates, ngettext("%(n)d answer", "%(n)d answers", report.candidates)),
        (report.rankings, ngettext("%(n)d ranking", "%(n)d rankings", report.rankings)),
    ]
    what = ", ".join(text % {"n": n} for n, text in parts if n)
    return _("Stored: %(what)s.") % {"what": what or _("nothing new")}
