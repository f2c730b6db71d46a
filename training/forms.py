"""Launch forms, made from the config classes: what pydantic knows of a setting becomes a field that explains itself."""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.utils.translation import gettext, gettext_lazy, ngettext
from pydantic import ValidationError
from pydantic.fields import FieldInfo

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

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAKES = (METHODS["reward"], METHODS["dpo"])  # what they learn from one dataset becomes a model
SENTENCES = {
    "missing": gettext_lazy("Please choose one."),
    "greater_than": gettext_lazy("Must be more than {gt}."),
    "greater_than_equal": gettext_lazy("Must be at least {ge}."),
    "less_than": gettext_lazy("Must be less than {lt}."),
    "less_than_equal": gettext_lazy("Must be at most {le}."),
    "string_pattern_mismatch": gettext_lazy("This is not possible here."),
    "too_short": gettext_lazy("Give at least {min_length}."),
    "too_long": gettext_lazy("Give at most {max_length}."),
}


class ListField(forms.CharField):
    """Several values in one line, separated by commas."""

    def __init__(self, *, item: forms.Field, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        parts = [part.strip() for part in re.split(r"[,，\n]", super().to_python(value) or "")]
        return [self.item.clean(part) for part in parts if part]


def form_field(name: str, info: FieldInfo) -> forms.Field:
    """The form field of one setting. A type that no form can show is a mistake in the config: TypeError."""
    kind, optional = _without_none(info.annotation)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    common: dict[str, Any] = {
        "label": gettext(info.title or name.replace("_", " ").capitalize()),
        "help_text": gettext(info.description) if info.description else "",
        "initial": default,
        "required": info.is_required(),  # an emptied field takes its default
    }
    if kind is bool:
        return forms.BooleanField(**common | {"required": False})
    if get_origin(kind) is Literal:
        choices = [(value, str(value)) for value in get_args(kind)]
        return forms.TypedChoiceField(
            choices=[("", gettext("None")), *choices] if optional else choices,
            coerce=lambda text: next(value for value, label in choices if label == text),
            empty_value=None,
            **common,
        )
    if get_origin(kind) in (list, tuple):
        item = _plain_field(get_args(kind)[0], [], {"required": True})
        if item is not None:
            return ListField(item=item, **common)
    elif field := _plain_field(kind, info.metadata, common):
        return field
    raise TypeError(f"The setting {name} has the type {info.annotation}, for which there is no form field.")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type inside `X | None`, and whether None was allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def _plain_field(kind: Any, limits: list[Any], common: dict[str, Any]) -> forms.Field | None:
    """The browser is told the limits; pydantic checks them, so that the form has no second truth."""
    if kind is str:
        return forms.CharField(max_length=300, **common)
    least = next((limit.ge for limit in limits if isinstance(limit, Ge)), None)
    most = next((limit.le for limit in limits if isinstance(limit, Le)), None)
    if kind not in (int, float):
        return None
    field = forms.IntegerField(**common) if kind is int else forms.FloatField(**common)
    field.widget.attrs |= {name: limit for name, limit in (("min", least), ("max", most)) if limit is not None}
    return field


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


def spelt_default(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words for a person."""
    if error["type"] == "value_error":
        return gettext(str(error["ctx"]["error"]))
    known = SENTENCES.get(error["type"])
    return str(known).format(**error.get("ctx", {})) if known else str(error["msg"])


def describe(model: ModelVersion) -> str:
    """`smollm2@1 · base, promoted`: what a list to choose from says of a model."""
    words = [model.get_kind_display()] + ([model.get_stage_display()] if model.stage == model.Stage.PROMOTED else [])
    return f"{model} · {', '.join(words).lower()}"


def _choice(field: forms.Field, choices: list[tuple[str, str]], *, nothing: str = "") -> forms.ChoiceField:
    return forms.ChoiceField(
        choices=[("", nothing), *choices] if nothing else choices,
        label=field.label,
        help_text=field.help_text,
        initial=field.initial,
        required=field.required,
    )
