"""Who may do what. What one may not see is a 404, so that nothing tells that it exists."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from django_htmx.middleware import HtmxDetails

from annotation.models import Membership, Project, Role

ANY_ROLE = tuple(Role)
ANNOTATES = (Role.ANNOTATOR, Role.MANAGER)
MEASURES = (Role.MANAGER, Role.ENGINEER)

# The sections of a project in its top bar: URL name, label, and who sees it.
SECTIONS = (
    ("overview", _("Overview"), (Role.MANAGER,)),
    ("annotate", _("Annotate"), ANNOTATES),
    ("history", _("History"), ANNOTATES),
    ("quality", _("Quality"), MEASURES),
    ("people", _("People"), (Role.MANAGER,)),
    ("guideline", _("Guideline"), (Role.MANAGER,)),
    ("data", _("Data"), MEASURES),
    ("compare", _("Compare models"), (Role.ENGINEER,)),
    ("settings", _("Settings"), (Role.MANAGER,)),
)


class MemberRequest(HttpRequest):
    """A request of someone who has one of the view's roles in the project of the URL."""

    membership: Membership
    htmx: HtmxDetails


def membership_for(user: Any, slug: str, *roles: str) -> Membership:
    """The user's active membership in a project, with one of these roles (any when none is named), or 404."""
    memberships = Membership.objects.active().filter(user_id=user.pk, project__slug=slug)
    if roles:
        memberships = memberships.filter(role__in=roles)
    membership = memberships.select_related("project__guideline", "user").first()
    if membership is None:
        raise Http404
    return membership


def project_for(user: Any, slug: str, *roles: str) -> Project:
    return membership_for(user, slug, *roles).project


def member_required(*roles: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Let in who has one of these roles in project SLUG; sets `request.membership`. The view gets no `slug`."""

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        @login_required
        def wrapped(request: MemberRequest, slug: str, **kwargs: Any) -> HttpResponseBase:
            request.membership = membership_for(request.user, slug, *roles)
            return view(request, **kwargs)

        return wrapped

    return decorate


def top_bar(request: HttpRequest) -> dict[str, Any]:
    """What every page's top bar shows: the user's projects, the current one, and the sections the role may use."""
    if not getattr(request, "user", None) or not request.user.is_authenticated:
        return {}
    memberships = list(
        Membership.objects.active().filter(user=request.user).select_related("project").order_by("project__title")
    )
    slug = request.resolver_match.kwargs.get("slug") if request.resolver_match else None
    current = next((membership for membership in memberships if membership.project.slug == slug), None)
    return {
        "memberships": memberships,
        "current_membership": current,
        "sections": [(name, label) for name, label, roles in SECTIONS if current and current.role in roles],
        "is_manager": any(membership.role == Role.MANAGER for membership in memberships),
        "is_engineer": request.user.is_superuser or any(membership.role == Role.ENGINEER for membership in memberships),
    }
