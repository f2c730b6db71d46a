"""The first page after login."""

from django.contrib.auth.decorators import login_required
from django.db.models import F, Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from annotation.models import Membership, Role


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """To the person's work: the project last worked in, at the page of the role there; the runs for an engineer."""
    assert request.user.is_authenticated
    memberships = Membership.objects.active().filter(user=request.user).select_related("project")
    worked = Max("rankings__created_at")
    latest = memberships.annotate(worked=worked).order_by(F("worked").desc(nulls_last=True), "-joined_at").first()
    if latest is None:
        return render(request, "home.html")
    return redirect("admin:index") if latest.role == Role.ENGINEER else redirect(latest)
