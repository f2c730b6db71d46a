"""A project's start and its overview."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from annotation.access import MemberRequest, member_required
from annotation.models import Role
from annotation.progress import Progress
from annotation.project_forms import ProjectForm
from annotation.projects import create_project


@login_required
def project_new(request: HttpRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        project = create_project(**form.cleaned_data, by=request.user)
        messages.success(request, _("%(title)s is set up. You are its manager.") % {"title": project.title})
        return redirect("overview", project.slug)
    return render(request, "annotation/project_new.html", {"form": form}, status=422 if form.is_bound else 200)


@member_required(Role.MANAGER)
def overview(request: MemberRequest) -> HttpResponse:
    project = request.membership.project
    return render(request, "annotation/overview.html", {"project": project, "progress": Progress(project)})
