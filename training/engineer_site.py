"""The admin, opened to engineers: what one may see there follows from memberships, never from `is_staff`."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from annotation.models import Membership, Role

# Accounts are kept on pages of our own, and nothing here looks up related rows or goes to a site.
UNUSED = {"logout", "password_change", "password_change_done", "autocomplete", "jsi18n", "view_on_site", "app_list"}


class EngineerSite(AdminSite):
    site_title = "Preferendum"
    site_header = _("Training")
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.disable_action("delete_selected")

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and (
            user.is_superuser or Membership.objects.active().filter(user_id=user.pk, role=Role.ENGINEER).exists()
        )

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Callable[..., HttpResponse]:  # type: ignore[override]
        """Anonymous people are asked to log in; to everyone else who may not come in, nothing is here."""

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not self.has_permission(request):
                raise Http404
            try:
                return view(request, *args, **kwargs)
            except PermissionDenied:  # of a single model: what one may not see does not exist
                raise Http404 from None

        return update_wrapper(inner if cacheable else never_cache(inner), view)

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [url for url in super().get_urls() if getattr(url, "name", None) not in UNUSED]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("login")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]
        return redirect("admin:training_run_changelist")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        return []  # the sections below stand in the top bar instead

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["admin_sections"] = [
            {
                "name": getattr(model_admin, "section", model._meta.verbose_name_plural),
                "url": url,
                "current": request.path.startswith(url),
            }
            for model, model_admin in sorted(
                self._registry.items(), key=lambda item: item[0]._meta.app_label != "training"
            )
            if model_admin.has_module_permission(request)
            and (url := reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
        ]
        return context
