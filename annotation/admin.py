"""People and projects as rows, for superusers. Everyone else manages them on the pages of a project."""

from axes.models import AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from annotation.models import Project

# Roles come from memberships: a group would grant nothing. Of logins only the failed ones are kept (settings.AXES_*).
admin.site.unregister([Group, User, AccessLog, AccessFailureLog])


@admin.register(User)
class PersonAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for mypy only
    list_display = ["username", "email", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser"]
    search_fields = ["username", "email", "first_name", "last_name"]
    ordering = ["username"]
    fields = ["username", "first_name", "last_name", "email", "is_active", "is_superuser", "last_login"]
    readonly_fields = ["username", "last_login"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # people come by invitation; a superuser by manage.py createsuperuser

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False  # a person's judgements stay; who leaves is made inactive


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for mypy only
    list_display = ["title", "slug", "kind", "state", "created_at"]
    list_filter = ["state", "kind"]
    search_fields = ["title", "slug"]
    fields = ["title", "slug", "kind", "state", "created_at"]
    readonly_fields = ["slug", "kind", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # /p/new/ makes its guideline and membership too

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False  # no judgement is ever thrown away
