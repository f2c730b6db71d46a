"""The engineer's admin: runs are launched, watched and ended here; datasets and models show where they came from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import intcomma, ordinal
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import date
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from annotation import exports
from training import queue, registry
from training.access import engineered_projects, visible_datasets, visible_models, visible_runs
from training.charts import charts_of, curves, last_values, legend
from training.configs import METHODS
from training.forms import LaunchForm
from training.launch_page import about, button, methods, obstacles
from training.models import Dataset, Evaluation, ModelVersion, Run
from training.results import (
    dataset_figures,
    figures,
    model_standing,
    steps_after,
    steps_after_run,
    verdict_of_run,
    verdicts_on,
)
from training.run_page import samples, settings_of, title_of, writes_texts
from training.rundir import RunFolder
from training.standing import badge, duration, progress, spell, standing


class EngineerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for mypy only
    """Rows that are seen and acted upon, never typed in. Which ones: `get_queryset`; the site asks who comes in."""

    actions = None
    list_per_page = 50
    section: Promise  # its name in the top bar and above its list

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [
            self.mount("", self.changelist_view, "changelist"),
            self.mount("<int:pk>/change/", self.change_view, "change"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"heading": self.section, **(extra_context or {})})

    def mount(self, route: str, view: Any, name: str) -> URLPattern:
        options = self.model._meta
        return path(  # type: ignore[no-any-return]
            route, self.admin_site.admin_view(view), name=f"{options.app_label}_{options.model_name}_{name}"
        )

    def show(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        shown = {**self.admin_site.each_context(request), "opts": self.model._meta, **context}
        return TemplateResponse(request, f"admin/training/{template}", shown)


def moment(time: datetime | None) -> str:
    return _unbroken(date(timezone.localtime(time), _("j M Y, H:i"))) if time else ""


def _unbroken(text: str) -> str:
    return format_html('<span class="nowrap">{}</span>', text) if text else ""


class MethodFilter(admin.SimpleListFilter):
    title = gettext_lazy("method")
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(method, title_of(method)) for method in METHODS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(method=self.value()) if self.value() else queryset


@admin.register(Run)
class RunAdmin(EngineerAdmin):
    section = gettext_lazy("Runs")
    list_display = ["title", "state_now", "progress", "project", "started", "took"]
    list_filter = ["state", MethodFilter]
    list_select_related = ["project"]
    search_fields = ["name"]
    ordering = ["-pk"]

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.mount("add/", self.add_view, "add"),
            self.mount("<int:pk>/live/", self.live, "live"),
            self.mount("<int:pk>/metrics/", self.metrics, "metrics"),
            self.mount("<int:pk>/cancel/", require_POST(self.cancel), "cancel"),
            self.mount("<int:pk>/resume/", require_POST(self.resume), "resume"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """The rows of the list, each with the number of runs that wait before it."""
        waiting = (
            Run.objects.filter(state=Run.State.QUEUED, pk__lt=OuterRef("pk"))
            .exclude(method=queue.GIVES_WAY)
            .order_by()
            .values("state")
        )
        before = Subquery(waiting.annotate(n=Count("pk")).values("n"))
        return visible_runs(request.user).annotate(before=Coalesce(before, 0))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True

    # The list

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        active = visible_runs(request.user).filter(state__in=[Run.State.QUEUED, Run.State.RUNNING])
        counts = dict(active.values_list("state").annotate(Count("pk")).order_by())
        context = {"counts": counts, "workers": queue.live_workers(), "projects": engineered_projects(request.user)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=gettext_lazy("Run"), ordering="pk")
    def title(self, run: Run) -> str:
        return format_html('{} · {}<span class="under">{}</span>', run.pk, run.name, title_of(run.method))

    @admin.display(description=gettext_lazy("State"), ordering="state")
    def state_now(self, run: Run) -> str:
        return format_html('<span class="badge {}">{}</span>', *badge(run, timezone.now()))

    @admin.display(description=gettext_lazy("Progress"))
    def progress(self, run: Run) -> str:
        if run.state == Run.State.QUEUED:
            place = run.before + 1  # type: ignore[attr-defined]
            return _unbroken(
                _("next in the queue") if place == 1 else _("%(nth)s in the queue") % {"nth": ordinal(place)}
            )
        return "" if run.state == Run.State.SUCCEEDED else _unbroken(progress(run))

    @admin.display(description=gettext_lazy("Started"), ordering="started_at")
    def started(self, run: Run) -> str:
        return moment(run.started_at)

    @admin.display(description=gettext_lazy("Took"))
    def took(self, run: Run) -> str:
        return _unbroken(spell(duration(run, timezone.now()))) if run.started_at else ""

    # One run

    def change_view(self, request: HttpRequest, pk: int) -> HttpResponse:  # type: ignore[override]
        return self.show(request, "run/page.html", **self.page(request, pk))

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What changes on the page while the run goes on; htmx asks for it every two seconds."""
        return self.show(request, "run/page.html#live", **self.page(request, pk))

    def page(self, request: HttpRequest, pk: int) -> dict[str, Any]:
        runs = visible_runs(request.user).select_related("project", "created_by", "model", "cloned_from")
        run = get_object_or_404(runs.prefetch_related("datasets", "parents", "clones"), pk=pk)
        values = last_values(run)
        drawn = {name for chart in charts_of(run) for name in chart.metrics}
        folder, settings = RunFolder(run.folder), settings_of(run)
        shown = run.state + ("-stopping" if run.cancel_requested else "")
        return {
            "run": run,
            "standing": standing(run),
            "method_title": title_of(run.method),
            "charts": [(chart, legend(chart, values)) for chart in charts_of(run)],
            "other_values": [(0, value) for value in values if value.name not in drawn],
            "samples": samples(run) if writes_texts(run) else [],
            "log": folder.log_tail(),
            "has_samples": writes_texts(run),
            "settings": settings,
            "settings_changed": sum(setting.changed for setting in settings),
            "results": figures(run),
            "verdict": verdict_of_run(run),
            "next_steps": steps_after_run(run),
            "children": visible_runs(request.user).filter(parents=run.model) if hasattr(run, "model") else [],
            "changed": request.GET.get("shown", shown) != shown,
        }

    def metrics(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The curves as JSON; 304 while nothing new was measured."""
        run = get_object_or_404(visible_runs(request.user), pk=pk)
        tag = f'"{run.attempts}-{run.metrics_read}"'
        if request.headers.get("If-None-Match") == tag:
            return HttpResponseNotModified(headers={"ETag": tag})
        return JsonResponse(curves(run), headers={"ETag": tag})

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self.act(request, pk, queue.cancel, _("It was asked to stop."))

    def resume(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self.act(request, pk, queue.resume, _("It is in the queue again."))

    def act(self, request: HttpRequest, pk: int, verb: Callable[[Run], None], done: str) -> HttpResponse:
        run = get_object_or_404(visible_runs(request.user), pk=pk)
        try:
            verb(run)
        except queue.WrongState as refused:
            messages.warning(request, str(refused))
        else:
            messages.success(request, done)
        return redirect("admin:training_run_change", run.pk)

    # A new run

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """`?method=reward&dataset=3` opens the form of a method, `?clone=12` that of a run with its settings."""
        source = None
        if clone := request.GET.get("clone", ""):
            source = get_object_or_404(visible_runs(request.user), pk=clone if clone.isdecimal() else 0)
        method = source.method if source else request.GET.get("method", "")
        if method not in METHODS:
            return self.show(request, "run/choose.html", methods=methods())
        config = METHODS[method]
        form = LaunchForm(
            request.GET if request.htmx else request.POST or None,  # type: ignore[attr-defined]  # by its middleware
            method=config,
            models=visible_models(request.user).order_by("name", "-version"),
            datasets=visible_datasets(request.user).order_by("-pk"),
            projects=engineered_projects(request.user).order_by("title"),
            devices={worker.device for worker in queue.live_workers()},
            source=source,
            wanted=request.GET.dict(),
        )
        if request.htmx:  # type: ignore[attr-defined]  # a setting was changed: what would the button do now?
            return HttpResponse(button(form), status=200 if form.is_valid() else 204)
        assert request.user.is_authenticated
        if form.is_valid() and (run := form.launch(by=request.user)):
            return redirect("admin:training_run_change", run.pk)
        missing = obstacles(config, request.user)
        page = self.show(
            request,
            "run/launch.html",
            form=form,
            method=about(config),
            source=source,
            obstacles=missing,
            blocked=any(obstacle.blocks for obstacle in missing),
            button=button(form),
        )
        page.status_code = 422 if form.is_bound else 200
        return page


@admin.register(ModelVersion)
class ModelVersionAdmin(EngineerAdmin):
    section = gettext_lazy("Models")
    list_display = ["title", "kind", "stage_now", "origin", "evaluation", "created"]
    list_filter = ["kind", "stage"]
    search_fields = ["name"]
    ordering = ["name", "-version"]

    def get_urls(self) -> list[URLPattern]:
        return [*super().get_urls(), self.mount("<int:pk>/promote/", require_POST(self.promote), "promote")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        """With the evaluations that the person may see: a model for everyone is measured in projects of others too."""
        seen = Evaluation.objects.filter(run__in=visible_runs(request.user))
        seen = seen.select_related("baseline", "judge", "model")
        return visible_models(request.user).select_related("run").prefetch_related(Prefetch("evaluations", seen))

    @admin.display(description=gettext_lazy("Model"), ordering="name")
    def title(self, model: ModelVersion) -> str:
        return str(model)

    @admin.display(description=gettext_lazy("Stage"), ordering="stage")
    def stage_now(self, model: ModelVersion) -> str:
        return format_html('<span class="badge {}">{}</span>', *model_standing(model).badge)

    @admin.display(description=gettext_lazy("Made by"))
    def origin(self, model: ModelVersion) -> str:
        if model.run is None:
            return format_html('<span class="muted">{}</span>', _("registered from outside"))
        return format_html('<a href="{}">{}</a>', reverse("admin:training_run_change", args=[model.run.pk]), model.run)

    @admin.display(description=gettext_lazy("Newest evaluation"))
    def evaluation(self, model: ModelVersion) -> str:
        found = verdicts_on(model)
        return format_html('<span class="badge {}">{}</span> {}', *found[0].badge, found[0].sentence) if found else ""

    @admin.display(description=gettext_lazy("Since"), ordering="created_at")
    def created(self, model: ModelVersion) -> str:
        return moment(model.created_at)

    def change_view(self, request: HttpRequest, pk: int) -> HttpResponse:  # type: ignore[override]
        model = get_object_or_404(self.get_queryset(request), pk=pk)
        models, runs = visible_models(request.user), visible_runs(request.user)
        return self.show(
            request,
            "modelversion/page.html",
            model=model,
            standing=model_standing(model),
            verdicts=verdicts_on(model),
            next_steps=steps_after(model),
            parents=models.filter(children=model.run) if model.run else [],
            datasets=visible_datasets(request.user).filter(runs=model.run) if model.run else [],
            children=runs.filter(parents=model).select_related("model").order_by("-pk"),
            versions=models.filter(name=model.name).exclude(pk=pk).order_by("-version"),
        )

    def promote(self, request: HttpRequest, pk: int) -> HttpResponse:
        model = registry.promote(get_object_or_404(visible_models(request.user), pk=pk))
        messages.success(request, _("%(name)s now stands for %(model)s.") % {"name": model.name, "model": model})
        return redirect("admin:training_modelversion_change", pk)


@admin.register(Dataset)
class DatasetAdmin(EngineerAdmin):
    section = gettext_lazy("Datasets")
    list_display = ["name", "kind", "project", "holds", "used", "created"]
    list_filter = ["kind"]
    list_select_related = ["project"]
    search_fields = ["name"]
    ordering = ["-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return visible_datasets(request.user).annotate(runs_made=Count("runs"))

    @admin.display(description=gettext_lazy("Holds"))
    def holds(self, dataset: Dataset) -> str:
        return _("%(tasks)s tasks, %(pairs)s pairs") % {
            "tasks": intcomma(dataset.summary.get("tasks", 0)),
            "pairs": intcomma(dataset.summary.get("pairs", 0)),
        }

    @admin.display(description=gettext_lazy("Runs"), ordering="runs_made")
    def used(self, dataset: Dataset) -> int:
        return dataset.runs_made  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=gettext_lazy("Frozen"), ordering="created_at")
    def created(self, dataset: Dataset) -> str:
        return moment(dataset.created_at)

    def change_view(self, request: HttpRequest, pk: int) -> HttpResponse:  # type: ignore[override]
        dataset = get_object_or_404(visible_datasets(request.user).select_related("project", "created_by"), pk=pk)
        runs = visible_runs(request.user).filter(datasets=dataset).select_related("model").order_by("-pk")
        splits = dataset.summary.get("splits", {})
        return self.show(
            request,
            "dataset/page.html",
            dataset=dataset,
            figures=dataset_figures(dataset),
            splits=[(label, splits.get(value)) for value, label in exports.SPLITS] if splits else [],
            runs=runs,
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"projects": engineered_projects(request.user)})
