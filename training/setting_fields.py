"""Settings as form fields: what pydantic knows of a setting becomes a field that explains itself."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from django import forms
from django.utils.translation import gettext, gettext_lazy
from pydantic.fields import FieldInfo

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
