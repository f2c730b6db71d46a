"""The page that lays two models' answers beside each other, with what a judge found, and starts such a comparison."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from annotation.access import MemberRequest, member_required
from annotation.models import Role
from training import compare as comparisons
from training.access import visible_models
from training.forms import describe
from training.models import ModelVersion
from training.queue import WrongConfig, enqueue, live_workers
from training.results import verdict
from training.standing import standing

PROMPTS_A_PAGE = 10


class ModelField(forms.ModelChoiceField):  # type: ignore[type-arg]  # generic for mypy only
    def label_from_instance(self, model: ModelVersion) -> str:
        return describe(model)

    def to_python(self, value: Any) -> ModelVersion | None:
        """Models are named `name@version` in addresses."""
        name, _at, version = str(value or "").replace("\0", "").partition("@")
        if not name:
            return None
        models: QuerySet[ModelVersion] = self.queryset  # type: ignore[assignment]
        model = models.filter(name=name, version=version if version.isdecimal() else 0).first()
        if model is None:
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return model

    def prepare_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, ModelVersion) else value


class PairForm(forms.Form):
    """Which two. Emptiness is no mistake: the page is first opened without a choice."""

    def __init__(self, data: QueryDict | None, *, models: QuerySet[ModelVersion]) -> None:
        super().__init__(data)
        self.fields["a"] = ModelField(models, label=_("Model"), required=False)
        self.fields["b"] = ModelField(models, label=_("Beside"), required=False)

    def clean(self) -> dict[str, Any]:
        a, b = self.cleaned_data.get("a"), self.cleaned_data.get("b")
        if a and a == b:
            self.add_error("b", _("Choose two different models."))
        return self.cleaned_data


class JudgeForm(forms.Form):
    """What a comparison by a judge needs besides the two."""

    max_new_tokens = forms.IntegerField(
        label=_("Longest answer"), initial=256, min_value=1, max_value=2048, help_text=_("In tokens, for both models.")
    )

    def __init__(self, data: QueryDict | None = None, *, judges: QuerySet[ModelVersion]) -> None:
        super().__init__(data)
        judge = ModelField(
            judges, label=_("Judge"), empty_label=None, help_text=_("A reward model scores both answers.")
        )
        self.fields = {"judge": judge, **self.fields}


@member_required(Role.ENGINEER)
def compare(request: MemberRequest) -> HttpResponse:
    """GET shows the two models that the address names; POST queues a comparison of them."""
    project, user = request.membership.project, request.user
    assert user.is_authenticated
    models = comparisons.comparable_models(user, project)
    chosen = PairForm(request.GET or None, models=models)
    pair = chosen.cleaned_data if chosen.is_valid() else {}
    a, b = pair.get("a"), pair.get("b")
    context: dict[str, Any] = {"project": project, "form": chosen, "enough": models.count() > 1, "a": a, "b": b}
    if not (a and b):
        return render(request, "training/compare.html", context)

    judges = visible_models(user).filter(kind=ModelVersion.Kind.REWARD).order_by("name", "-version")
    judge_form = JudgeForm(request.POST or None, judges=judges)
    if judge_form.is_valid():
        settings = {"model": str(a), "baseline": str(b), "judge": str(judge_form.cleaned_data["judge"])}
        tokens = judge_form.cleaned_data["max_new_tokens"]
        try:
            enqueue("evaluate", {**settings, "max_new_tokens": tokens}, project=project, by=user, name=f"{a} / {b}")
        except WrongConfig as wrong:
            judge_form.add_error(None, str(wrong))
        else:
            return redirect(f"{reverse('compare', args=[project.slug])}?{request.GET.urlencode()}")

    run = comparisons.comparison_under_way(project, a, b)
    evaluation = comparisons.newest_comparison(project, a, b)
    pairs = comparisons.judged_answers(project, evaluation, a, b) if evaluation else []
    pages = Paginator(pairs or comparisons.answers_to_rank(project, a, b), PROMPTS_A_PAGE)
    context |= {
        "judge_form": judge_form,
        "has_judges": judges.exists(),
        "has_workers": bool(live_workers()),
        "run": run,
        "standing": standing(run) if run else None,
        "verdict": verdict(evaluation) if evaluation else None,
        "page": pages.get_page(request.GET.get("page")),
        "total": pages.count,
    }
    return render(request, "training/compare.html", context, status=422 if judge_form.is_bound else 200)
