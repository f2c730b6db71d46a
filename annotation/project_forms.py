"""What a manager fills in: a project, its guideline, its settings, its people."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import SetPasswordForm, UserCreationForm
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from annotation.models import Guideline, Kind, Membership, Project, Role

# One line a paragraph: in a guideline, as in an answer, a line break is shown as one.
GUIDELINE_TEMPLATE = _("""# How to judge

Read the prompt, then every answer to its end. Ask yourself: which would the person who asked rather have got?

## What is better

1. **It does what was asked.** It answers this question, in the language and the form that were asked for.
2. **It is right.** A wrong fact, a made-up source or code that does not run weighs more than poor style.
3. **It is useful.** Clear, complete, and no longer than it has to be. Length alone is no merit.

## What is harmful

Rank an answer below all harmless ones if it:

- helps to hurt someone, insults, or reveals private data;
- gives dangerous advice as if it were safe.

To refuse a harmless request is a fault too, but a smaller one.

## When to tie

Give the same rank when you would not mind which of them you got. Do not tie to save time: decide if you can.

If no answer is acceptable, choose **All bad**. If you cannot judge, **skip** and say why.
""")


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for mypy only
    guideline = forms.CharField(
        label=_("Guideline"),
        help_text=_("Markdown. Annotators see it beside every task; you can change it later."),
        widget=forms.Textarea(attrs={"rows": 18}),
        initial=GUIDELINE_TEMPLATE,
        strip=False,
    )

    class Meta:
        model = Project
        fields = ["title", "kind", "answers_per_task"]
        widgets = {
            "title": forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"}),
            "kind": forms.RadioSelect,
            "answers_per_task": forms.NumberInput(attrs={"min": 2, "max": 9}),
        }
        labels = {"title": _("Title"), "kind": _("How do people judge?"), "answers_per_task": _("Answers per prompt")}
        help_texts = {
            "title": _("Annotators see it too."),
            "answers_per_task": _("2 to 9. Four give six comparisons for one reading. Comparing two always takes 2."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["answers_per_task"].required = False  # comparing two takes 2

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") == Kind.PAIRWISE:
            self.errors.pop("answers_per_task", None)  # what the hidden field held does not matter
            cleaned["answers_per_task"] = 2
        elif cleaned.get("answers_per_task") is None and "answers_per_task" not in self.errors:
            cleaned["answers_per_task"] = 4
        return cleaned


class GuidelineForm(forms.Form):
    text = forms.CharField(label=_("Guideline"), widget=forms.Textarea(attrs={"rows": 24}), strip=False)
    change_note = forms.CharField(
        label=_("What changed?"), max_length=200, help_text=_("One line. Annotators see it with the new version.")
    )
    after = forms.IntegerField(widget=forms.HiddenInput, min_value=0)

    def __init__(self, data: Any = None, *, current: Guideline | None, text: str = "") -> None:
        text = text or (current.text if current else str(GUIDELINE_TEMPLATE))
        initial = {"text": text, "after": current.version if current else 0}
        super().__init__(data, initial=initial)
        if current is None:
            del self.fields["change_note"]

    def clean_text(self) -> str:
        # Browsers send CRLF; a version that differs by nothing else would look changed on every line.
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        if not text.strip():
            raise forms.ValidationError(_("Write at least one sentence."))
        return text


class SettingsForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for mypy only
    calibration_percent = forms.IntegerField(
        label=_("Calibration share, %"),
        min_value=0,
        max_value=100,
        help_text=_(
            "This share of the tasks is judged by several people, the first of them among everybody's first ten, so "
            "that agreement can be measured early. 0 turns it off. Default: 15."
        ),
    )

    class Meta:
        model = Project
        fields = ["title", "answers_per_task", "overlap", "calibration_overlap", "lease_minutes"]
        labels = {
            "title": _("Title"),
            "answers_per_task": _("Answers per prompt"),
            "overlap": _("People per task"),
            "calibration_overlap": _("People per calibration task"),
            "lease_minutes": _("Minutes a task is held"),
        }
        help_texts = {
            "title": _("Shown on every page. The address does not change with it."),
            "answers_per_task": _(
                "A prompt opens when it has this many answers. Open tasks stay as they are. Default: 4."
            ),
            "overlap": _(
                "How many people judge each task. Two cost twice the work and show where people differ. Default: 1."
            ),
            "calibration_overlap": _("How many people judge each calibration task. Three can break a tie. Default: 3."),
            "lease_minutes": _(
                "Who opens a task holds it this long; while the page is open the clock restarts every minute. After "
                "that somebody else may get it. Default: 15."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["calibration_percent"].initial = round(self.instance.calibration_share * 100)
        if self.instance.kind == Kind.PAIRWISE:
            del self.fields["answers_per_task"]

    def overlap(self) -> dict[str, Any]:
        """What `assignment.set_overlap` takes."""
        percent = self.cleaned_data["calibration_percent"]
        unchanged = percent == round(self.instance.calibration_share * 100)  # 12.5 % stays 12.5 %
        return {
            "overlap": self.cleaned_data["overlap"],
            "calibration_share": self.instance.calibration_share if unchanged else percent / 100,
            "calibration_overlap": self.cleaned_data["calibration_overlap"],
        }


class InviteForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.ANNOTATOR)
    email = forms.EmailField(
        label=_("E-mail (optional)"), required=False, help_text=_("The link is mailed there; you also see it here.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.EMAIL_HOST:
            del self.fields["email"]


class RoleForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for mypy only
    class Meta:
        model = Membership
        fields = ["role"]


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]  # generic for mypy only
    """A name and a password, nothing else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].help_text = _("Letters, digits and @ . + - _")
        _ask_twice(self, "password1", "password2")


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # generic for mypy only
    """A new password, twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ask_twice(self, "new_password1", "new_password2")


# Django's own sentence, which its Chinese catalog lacks: named here, it is in ours.
TOO_SHORT = ngettext_lazy(
    "This password is too short. It must contain at least %d character.",
    "This password is too short. It must contain at least %d characters.",
)


def _ask_twice(form: forms.BaseForm, first: str, again: str) -> None:
    """One line instead of Django's list; what is wrong with a password stands beside it when it is."""
    form.fields[first].help_text = _("At least 8 characters, and not a common password.")
    form.fields[again].label, form.fields[again].help_text = _("The same password again"), ""


class UploadForm(forms.Form):
    content = forms.ChoiceField(
        label=_("What is in the file?"),
        choices=[
            ("prompts", _("Prompts, with or without answers")),
            ("rankings", _("Finished rankings with their answers")),
        ],
        initial="prompts",
        widget=forms.RadioSelect,
    )
    file = forms.FileField(label=_("File"), allow_empty_file=True)  # the reader says it better
    skip_bad = forms.BooleanField(
        label=_("Store the good lines even if others are bad"),
        required=False,
        help_text=_("Otherwise one bad line stops the import, and nothing is stored."),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > settings.MAX_UPLOAD_MB * 2**20:
            sizes = {"size": filesizeformat(file.size), "most": filesizeformat(settings.MAX_UPLOAD_MB * 2**20)}
            raise forms.ValidationError(
                gettext("The file has %(size)s, and at most %(most)s come in here; the commands take any size.") % sizes
            )
        return file
