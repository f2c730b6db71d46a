"""What the data page asks: who answers, how often, and under which name to freeze."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotation.models import Kind, Project
from training.configs import SPEAKERS
from training.forms import describe
from training.models import Dataset, ModelVersion
from training.registry import default_speaker


class GenerateForm(forms.Form):
    model = forms.ChoiceField(label=_("Model"))
    per_prompt = forms.IntegerField(label=_("Answers per prompt"), min_value=2, max_value=9)

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        models = list(speakers(project))
        usual = default_speaker()
        self.fields["model"].choices = [(str(model), describe(model)) for model in models]  # type: ignore[attr-defined]
        self.initial["model"] = str(usual if usual in models else models[0]) if models else ""
        self.initial["per_prompt"] = project.answers_per_task
        if project.kind == Kind.PAIRWISE:
            self.fields["per_prompt"] = forms.IntegerField(
                min_value=2, max_value=2, required=False, widget=forms.HiddenInput
            )


class SnapshotForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for mypy only
    class Meta:
        model = Dataset
        fields = ["name"]
        labels = {"name": _("Name")}
        help_texts = {"name": _("Left empty, it is the project's name and a number.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False


def speakers(project: Project) -> Any:
    """Who may answer here: models that were registered for everyone, and those that this project made."""
    models = ModelVersion.objects.filter(kind__in=SPEAKERS).exclude(stage=ModelVersion.Stage.RETIRED)
    return models.filter(Q(run=None) | Q(run__project=project)).order_by("name", "-version")
