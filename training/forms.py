"""Launch forms: the settings of a method, the data and models that fit, and the run that comes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.utils.translation import gettext, ngettext
from pydantic import ValidationError

from annotation.models import Project
from training import launches
from training.configs import (
    METHODS,
    EvaluateConfig,
    GenerateConfig,
    RecipeConfig,
    basic_fields,
    model_fields,
)
from training.models import Dataset, ModelVersion, Run
from training.queue import WrongConfig, WrongState, enqueue
from training.registry import default_speaker
from training.setting_fields import form_field, sentence, spelt_default

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAKES = (METHODS["reward"], METHODS["dpo"])  # what they learn from one dataset becomes a model


class DatasetField(forms.ModelChoiceField):  # type: ignore[type-arg]  # generic for mypy only
    def label_from_instance(self, dataset: Dataset) -> str:
        pairs = dataset.summary.get("pairs", 0)
        words = ngettext("%(n)s pair", "%(n)s pairs", pairs)
        return f"{dataset} · {words % {'n': intcomma(pairs)}}"


class LaunchForm(forms.Form):
    """All that a run of one method needs. Only what the person may see can be chosen."""

    def __init__(
        self,
        *args: Any,
        method: type[RecipeConfig],
        models: QuerySet[ModelVersion],
        datasets: QuerySet[Dataset],
        projects: QuerySet[Project],
        devices: Collection[str],
        source: Run | None = None,
        wanted: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.method, self.source = method, source
        self.config: RecipeConfig | None = None
        self.add_settings(list(models), devices)
        self.add_data(datasets, projects)
        self.fields["name"] = forms.CharField(
            max_length=100,
            label=gettext("Name"),
            required=method is not GenerateConfig,  # a name of its own would only repeat project and model
            help_text=gettext("Of the run, and of the model that it makes.")
            if method in MAKES
            else gettext("Helps you find the run again."),
        )
        if usual := default_speaker():
            self.initial["model"] = str(usual)
        self.initial.update({name: value for name, value in (wanted or {}).items() if name in self.fields})
        if source:
            dataset = source.datasets.first()
            self.initial.update(
                source.config, name=source.name, project=source.project_id, dataset=dataset and dataset.pk
            )
        self.initial.setdefault("name", self.suggested_name())

    def add_settings(self, models: list[ModelVersion], devices: Collection[str]) -> None:
        kinds = model_fields(self.method)
        for name, info in self.method.model_fields.items():
            field = form_field(name, info)
            if name in kinds:
                fitting = [(str(model), describe(model)) for model in models if model.kind in kinds[name]]
                field = _choice(field, fitting, nothing=gettext("None") if not field.required else "")
            elif name == "device":
                held = self.source.device if self.source else "cpu"
                field = _choice(field, [(device, device) for device in sorted({*devices, held})])
            default = field.prepare_value(field.initial)
            if not info.is_required():
                field.widget.attrs["data-default"] = "" if default is None else str(default)
            field.default_text = spelt_default(default)  # type: ignore[attr-defined]
            self.fields[name] = field

    def add_data(self, datasets: QuerySet[Dataset], projects: QuerySet[Project]) -> None:
        if self.method is not GenerateConfig:
            self.fields["dataset"] = DatasetField(
                datasets,
                label=gettext("Data"),
                required=self.method is not EvaluateConfig,
                empty_label=None if self.method is not EvaluateConfig else gettext("None"),
                help_text=gettext("Held-out comparisons, to measure a reward model.")
                if self.method is EvaluateConfig
                else gettext("A frozen snapshot. Some of its pairs are held out, to measure on."),
            )
        if self.method in (GenerateConfig, EvaluateConfig):
            self.fields["project"] = forms.ModelChoiceField(
                projects,
                label=gettext("Project"),
                required=self.method is GenerateConfig,
                help_text=gettext("Its prompts that lack answers are answered.")
                if self.method is GenerateConfig
                else gettext("Two policies answer those of its prompts that no training saw."),
            )

    @property
    def datasets(self) -> QuerySet[Dataset]:
        field = self.fields.get("dataset")
        return field.queryset.select_related("project") if field else Dataset.objects.none()  # type: ignore[attr-defined]

    @property
    def dataset_shown(self) -> int | None:
        """The dataset that the form shows as chosen."""
        asked = str(self["dataset"].value() or "") if "dataset" in self.fields else ""
        if asked.isdecimal() or (asked == "" and self.method not in MAKES):
            return int(asked) if asked else None
        first = self.datasets.first()
        return first.pk if first else None

    def config_shown(self) -> RecipeConfig | None:
        """The config of the form as it stands, if it is one."""
        if self.is_bound:
            return self.config if self.is_valid() else None
        shown = {name: self.initial[name] for name in self.method.model_fields if self.initial.get(name) is not None}
        try:
            return self.method.model_validate(shown)
        except ValidationError:
            return None

    def suggested_name(self) -> str:
        dataset = self.datasets.filter(pk=self.dataset_shown or 0).first()
        return f"{dataset.project.slug}-{self.method.method}" if dataset and dataset.project else self.method.method

    @property
    def basic(self) -> list[forms.BoundField]:
        """What everyone decides: start from, data, what the method marks as basic, name, device."""
        models = list(model_fields(self.method))
        data = [name for name in ("dataset", "project") if name in self.fields]
        rest = [name for name in basic_fields(self.method) if name not in models]
        return [self[name] for name in [*models, *data, *rest, "name", "device"]]

    @property
    def others(self) -> list[forms.BoundField]:
        shown = {field.name for field in self.basic}
        return [field for field in self if field.name not in shown]

    @property
    def others_wrong(self) -> bool:
        return any(field.errors for field in self.others)

    def clean(self) -> dict[str, Any]:
        values = {
            name: value
            for name, value in self.cleaned_data.items()
            if name in self.method.model_fields and value not in (None, "", [])
        }
        try:
            self.config = self.method.model_validate(values)
        except ValidationError as refused:
            for error in refused.errors():
                name = str(error["loc"][0]) if error["loc"] else None
                # What the form has refused needs no second sentence, and what settings mean together
                # can only be judged once each of them is right.
                if name not in self.errors and (name or not self.errors):
                    self.add_error(name, sentence(dict(error)))
        if isinstance(self.config, EvaluateConfig):
            needed = "project" if self.config.baseline else "dataset"
            if not self.cleaned_data.get(needed) and needed not in self.errors:
                self.add_error(needed, gettext("Please choose one."))
        return self.cleaned_data

    def launch(self, *, by: User) -> Run | None:
        """Queue the run; None, with errors in the form, when something changed since it was shown."""
        assert self.config is not None
        settings = self.config.model_dump(mode="json")
        dataset: Dataset | None = self.cleaned_data.get("dataset")
        project: Project | None = self.cleaned_data.get("project") or (dataset.project if dataset else None)
        try:
            if self.method is GenerateConfig and project:
                return launches.launch_generation(project, by=by, **settings)
            return enqueue(
                self.method.method,
                settings,
                project=project,
                datasets=[dataset] if dataset else [],
                by=by,
                name=self.cleaned_data["name"],
                cloned_from=self.source,
            )
        except WrongConfig as wrong:
            for name, reason in wrong.errors.items():
                self.add_error(name or None, reason)
        except (launches.NothingToAnswer, WrongState) as refused:
            self.add_error(None, str(refused))
        return None


def describe(model: ModelVersion) -> str:
    """`smollm2@1 · base, promoted`: what a list to choose from says of a model."""
    words = [model.get_kind_display()] + ([model.get_stage_display()] if model.stage == model.Stage.PROMOTED else [])
    comma = gettext(", ")
    return f"{model} · {comma.join(words).lower()}"


def _choice(field: forms.Field, choices: list[tuple[str, str]], *, nothing: str = "") -> forms.ChoiceField:
    return forms.ChoiceField(
        choices=[("", nothing), *choices] if nothing else choices,
        label=field.label,
        help_text=field.help_text,
        initial=field.initial,
        required=field.required,
    )
