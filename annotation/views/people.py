"""People of a project, and the page behind a one-time link."""

from __future__ import annotations

from smtplib import SMTPException

from django.contrib import messages
from django.contrib.auth import login
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from annotation.access import MemberRequest, member_required
from annotation.models import Membership, OneTimeLink, Role
from annotation.people import (
    LinkSpent,
    NotAllowed,
    change_role,
    choose_password,
    find_link,
    invite,
    join,
    mail_link,
    open_links,
    password_link,
    remove,
    sign_up,
)
from annotation.progress import people as people_of
from annotation.project_forms import InviteForm, NewPasswordForm, RoleForm, SignUpForm

PAGE = 50
BACKEND = "django.contrib.auth.backends.ModelBackend"


@member_required(Role.MANAGER)
def people(request: MemberRequest) -> HttpResponse:
    return _people_page(request)


@require_POST
@member_required(Role.MANAGER)
def people_invite(request: MemberRequest) -> HttpResponse:
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _people_page(request, form=form, status=422)
    role = form.cleaned_data["role"]
    url = _absolute(request, invite(request.membership.project, role, by=request.user))
    if address := form.cleaned_data.get("email"):
        try:
            mail_link(address, url, request.membership.project)
            messages.success(request, _("The link was mailed to %(address)s.") % {"address": address})
        except (SMTPException, OSError):
            messages.warning(request, _("The mail could not be sent: copy the link instead."))
    return _people_page(request, new_link={"url": url, "role": str(Role(role).label)})


@require_POST
@member_required(Role.MANAGER)
def people_password(request: MemberRequest, pk: int) -> HttpResponse:
    membership = _someone(request, pk)
    try:
        url = _absolute(request, password_link(membership, by=request.user))
    except NotAllowed as refusal:
        messages.error(request, str(refusal))
        return redirect("people", request.membership.project.slug)
    return _people_page(request, new_link={"url": url, "name": membership.name})


@require_POST
@member_required(Role.MANAGER)
def people_role(request: MemberRequest, pk: int) -> HttpResponse:
    membership = _someone(request, pk)
    form = RoleForm(request.POST)
    if form.is_valid():
        try:
            change_role(membership, form.cleaned_data["role"])
            new = {"name": membership.name, "role": membership.get_role_display()}
            messages.success(request, _("%(name)s is now %(role)s.") % new)
        except NotAllowed as refusal:
            messages.error(request, str(refusal))
    return _back_to_people(request, membership)


@member_required(Role.MANAGER)
def people_remove(request: MemberRequest, pk: int) -> HttpResponse:
    """GET asks, POST does."""
    membership = _someone(request, pk)
    if request.method != "POST":
        person = get_object_or_404(people_of(request.membership.project), pk=pk)
        return render(request, "annotation/people_remove.html", {"project": membership.project, "person": person})
    try:
        remove(membership)
        messages.success(request, _("%(name)s left. Their judgements stay.") % {"name": membership.name})
    except NotAllowed as refusal:
        messages.error(request, str(refusal))
    return _back_to_people(request, membership)


@require_POST
@member_required(Role.MANAGER)
def people_take_back(request: MemberRequest, pk: int) -> HttpResponse:
    get_object_or_404(open_links(request.membership.project), pk=pk).delete()
    messages.success(request, _("The link was taken back: it opens nothing any more."))
    return redirect("people", request.membership.project.slug)


def one_time_link(request: HttpRequest, token: str) -> HttpResponse:
    """Whoever holds the link: a member-to-be with or without an account, or someone who forgot a password."""
    try:
        link = find_link(token)
        if link.user:
            return _new_password(request, link)
        if request.user.is_authenticated:
            return _join(request, link)
        return _sign_up(request, link)
    except LinkSpent:
        return render(request, "annotation/link_spent.html", status=410)


def _join(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    assert request.user.is_authenticated
    present = Membership.objects.active().filter(project=link.project, user=request.user).first()
    if request.method != "POST" or present:
        return render(request, "annotation/one_time_link.html", {"link": link, "present": present})
    membership = join(link, request.user)
    messages.success(request, _("You joined %(project)s.") % {"project": membership.project.title})
    return redirect("home")


def _sign_up(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            membership = sign_up(link, form.cleaned_data["username"], form.cleaned_data["password1"])
        except IntegrityError:  # someone took the name between the check and now
            form.add_error("username", _("This name is taken."))
        else:
            login(request, membership.user, backend=BACKEND)
            return redirect("home")
    context = {"link": link, "form": form}
    return render(request, "annotation/one_time_link.html", context, status=422 if form.is_bound else 200)


def _new_password(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    form = NewPasswordForm(link.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = choose_password(link, form.cleaned_data["new_password1"])
        login(request, user, backend=BACKEND)
        messages.success(request, _("Your new password is set."))
        return redirect("home")
    context = {"link": link, "form": form}
    return render(request, "annotation/one_time_link.html", context, status=422 if form.is_bound else 200)


def _people_page(
    request: MemberRequest, *, form: InviteForm | None = None, new_link: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    """A fresh link is shown in the answer to the POST that made it: it is stored nowhere in the clear."""
    project = request.membership.project
    everybody = people_of(project).select_related("user").order_by(F("left_at").asc(nulls_first=True), "role", "pk")
    page = Paginator(everybody, PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "present": Membership.objects.active().filter(project=project).count(),
        "form": form or InviteForm(),
        "new_link": new_link,
        "links": open_links(project).select_related("created_by", "user"),
        "roles": Role.choices,
    }
    response = render(request, "annotation/people.html", context, status=status)
    if new_link:
        response["Cache-Control"] = "no-store"
    return response


def _someone(request: MemberRequest, pk: int) -> Membership:
    members = Membership.objects.active().filter(project=request.membership.project)
    return get_object_or_404(members.select_related("user", "project"), pk=pk)


def _back_to_people(request: MemberRequest, membership: Membership) -> HttpResponse:
    """A manager who left or took another role sees this page no more."""
    still_there = membership.pk != request.membership.pk or (
        membership.role == Role.MANAGER and membership.left_at is None
    )
    return redirect("people", request.membership.project.slug) if still_there else redirect("home")


def _absolute(request: HttpRequest, token: str) -> str:
    return request.build_absolute_uri(reverse("one_time_link", args=[token]))
