"""One frozen config per method: it makes the web form, the JSON in the run folder, and the recipe's argument.

No Django and no torch: recipes, workers and pages all import this file. In a field's `json_schema_extra`, `basic`
fields stand on the launch form, the rest fold under "All settings"; `model` lists the kinds of model it may name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


def _(text: str) -> str:
    """Mark a text for the translators; the pages that show it translate it."""
    return text


BASIC: dict[str, Any] = {"basic": True}
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]*@[1-9][0-9]*$"
SPEAKERS = ["base", "sft", "policy"]  # kinds of model that can write an answer


def names_model(kinds: list[str]) -> dict[str, Any]:
    return {"basic": True, "model": kinds}


class RecipeConfig(BaseModel):
    """What every method has."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    method: ClassVar[str]
    title: ClassVar[str]
    purpose: ClassVar[str]

    seed: int = Field(
        42,
        title=_("Seed"),
        ge=0,
        lt=2**31,
        description=_("The same seed, data and settings give the same result on a CPU."),
    )
    device: str = Field(
        "cpu",
        title=_("Device"),
        pattern=r"^(cpu|cuda(:[0-9]+)?|mps)$",
        description=_("Where to compute: cpu, mps, cuda or cuda:0."),
    )
    threads: int = Field(
        0, title=_("Threads"), ge=0, le=256, description=_("CPU threads to compute with; 0 takes every core.")
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        title=_("Precision"),
        description=_("Number format. auto takes bf16 where the device is fast in it, else fp32."),
    )

    def models(self) -> dict[str, str]:
        """Field -> `name@version` of every model that this config names.

        >>> EvaluateConfig(model="policy@2", baseline="base@1", judge="rm@1").models()
        {'model': 'policy@2', 'baseline': 'base@1', 'judge': 'rm@1'}
        """
        return {name: getattr(self, name) for name in model_fields(type(self)) if getattr(self, name)}


def _temperature(default: float) -> Any:
    return Field(
        default,
        title=_("Temperature"),
        ge=0.05,
        le=2,
        description=_("How freely the model chooses words; lower is more predictable."),
    )


def _top_p(default: float) -> Any:
    return Field(
        default,
        title=_("Top-p"),
        gt=0,
        le=1,
        description=_("Only the likeliest words that together have this probability are drawn."),
    )


class GenerateConfig(RecipeConfig):
    method: ClassVar[str] = "generate"
    title: ClassVar[str] = _("Generate answers")
    purpose: ClassVar[str] = _("Let a model answer prompts, so that people can rank the answers.")

    model: str = Field(
        title=_("Model"), pattern=MODEL_NAME, json_schema_extra=names_model(SPEAKERS), description=_("Who answers.")
    )
    per_prompt: int = Field(
        4,
        title=_("Answers per prompt"),
        ge=1,
        le=9,
        json_schema_extra=BASIC,
        description=_("Answers that each prompt gets."),
    )
    max_new_tokens: int = Field(
        256,
        title=_("Longest answer"),
        ge=1,
        le=2048,
        json_schema_extra=BASIC,
        description=_(
            "In tokens, about 0.75 English words each. A longer answer is drawn once more at double this "
            "length, and marked as cut if even that is too short."
        ),
    )
    temperatures: tuple[float, ...] = Field(
        (0.7, 1.0),
        title=_("Temperatures"),
        min_length=1,
        max_length=9,
        description=_("Taken in turn by a prompt's answers, so that they differ."),
    )
    top_p: float = _top_p(0.9)
    batch_size: int = Field(
        16, title=_("Batch size"), ge=1, le=512, description=_("Answers that are written at the same time.")
    )

    @model_validator(mode="after")
    def check_temperatures(self) -> GenerateConfig:
        if not all(0.05 <= temperature <= 2 for temperature in self.temperatures):
            raise ValueError(_("Each temperature must lie between 0.05 and 2."))
        return self


class PreferenceTrainingConfig(RecipeConfig):
    """What the methods that learn from comparisons share."""

    learning_rates: ClassVar[dict[str, float]]

    model: str = Field(
        title=_("Start from"),
        pattern=MODEL_NAME,
        json_schema_extra=names_model(SPEAKERS),
        description=_("The model that training starts from. It stays as it is; a new version is made."),
    )
    tuning: Literal["lora", "full"] = Field(
        "lora",
        title=_("What to train"),
        json_schema_extra=BASIC,
        description=_("lora trains small added matrices: less memory, less forgetting. full trains every weight."),
    )
    epochs: int = Field(
        1,
        title=_("Epochs"),
        ge=1,
        le=100,
        json_schema_extra=BASIC,
        description=_("How often training goes through the whole data."),
    )
    max_pairs: int | None = Field(
        None,
        title=_("Most pairs"),
        ge=1,
        json_schema_extra=BASIC,
        description=_("Train on at most this many pairs, spread evenly over the tasks. Empty: all."),
    )
    max_length: int = Field(
        512,
        title=_("Max length"),
        ge=16,
        le=32768,
        description=_("Prompt and answer together, in tokens. Pairs that are longer are left out and counted."),
    )
    learning_rate: float | None = Field(
        None,
        title=_("Learning rate"),
        gt=0,
        le=0.1,
        description=_("Size of the steps. Empty: the usual value for lora or full."),
    )
    batch_size: int = Field(4, title=_("Batch size"), ge=1, le=1024, description=_("Pairs in memory at a time."))
    gradient_accumulation: int = Field(
        2,
        title=_("Gradient accumulation"),
        ge=1,
        le=1024,
        description=_("Batches that are added up before the weights change."),
    )
    gradient_checkpointing: bool = Field(
        False,
        title=_("Gradient checkpointing"),
        description=_("Recompute instead of remembering: less memory, slower."),
    )
    lora_r: int = Field(16, title=_("LoRA rank"), ge=1, le=512, description=_("Rank of the added matrices."))
    lora_alpha: int = Field(
        32, title=_("LoRA alpha"), ge=1, le=1024, description=_("Their weight is alpha divided by the rank.")
    )
    lora_dropout: float = Field(
        0.0, title=_("LoRA dropout"), ge=0, lt=1, description=_("Share of inputs dropped at random.")
    )
    warmup_share: float = Field(
        0.1, title=_("Warmup share"), ge=0, lt=1, description=_("Share of the steps in which the learning rate rises.")
    )
    weight_decay: float = Field(
        0.0, title=_("Weight decay"), ge=0, le=1, description=_("Pull of the weights towards zero.")
    )
    eval_share: float = Field(
        0.1,
        title=_("Eval share"),
        ge=0,
        le=0.5,
        description=_(
            "At least this share of the prompts is held out to measure accuracy; no prompt is on both sides."
        ),
    )
    eval_every: int | None = Field(
        None,
        title=_("Eval every"),
        ge=1,
        description=_("Measure on the held-out pairs every so many steps, and at the end. Empty: five times in a run."),
    )
    max_eval_pairs: int = Field(
        200,
        title=_("Max eval pairs"),
        ge=1,
        description=_("Held-out pairs to measure on, spread evenly over the tasks."),
    )
    save_every: int = Field(
        20,
        title=_("Save every"),
        ge=1,
        description=_("Write a checkpoint every so many steps; a killed run goes on from it."),
    )

    def step_size(self) -> float:
        """The learning rate in use.

        >>> RewardConfig(model="base@1").step_size()
        0.0002
        """
        return self.learning_rate or self.learning_rates[self.tuning]


class RewardConfig(PreferenceTrainingConfig):
    method: ClassVar[str] = "reward"
    title: ClassVar[str] = _("Train a reward model")
    purpose: ClassVar[str] = _("A model that scores answers as the annotators rank them.")
    learning_rates: ClassVar[dict[str, float]] = {"lora": 2e-4, "full": 1e-5}

    margins: bool = Field(
        True,
        title=_("Margins"),
        description=_("Ask for a larger difference of scores where people preferred strongly, if they said so."),
    )
    center_coefficient: float = Field(
        0.01, title=_("Center coefficient"), ge=0, le=1, description=_("Pull of the scores towards a mean of zero.")
    )


class DPOConfig(PreferenceTrainingConfig):
    method: ClassVar[str] = "dpo"
    title: ClassVar[str] = _("Train with DPO")
    purpose: ClassVar[str] = _(
        "Direct preference optimisation: make the chosen answers likelier, without a reward model."
    )
    learning_rates: ClassVar[dict[str, float]] = {"lora": 5e-5, "full": 1e-6}

    beta: float = Field(
        0.1,
        title=_("Beta"),
        gt=0,
        le=10,
        json_schema_extra=BASIC,
        description=_("How near the model stays to where it started; larger is nearer."),
    )
    label_smoothing: float = Field(
        0.0,
        title=_("Label smoothing"),
        ge=0,
        lt=0.5,
        description=_("Share of the comparisons that are assumed to be the wrong way round."),
    )


class EvaluateConfig(RecipeConfig):
    method: ClassVar[str] = "evaluate"
    title: ClassVar[str] = _("Evaluate")
    purpose: ClassVar[str] = _(
        "Measure a reward model on held-out comparisons, or a policy against another on prompts that no training saw."
    )

    model: str = Field(
        title=_("Model"),
        pattern=MODEL_NAME,
        json_schema_extra=names_model([*SPEAKERS, "reward"]),
        description=_("The reward model or policy to measure."),
    )
    baseline: str | None = Field(
        None,
        title=_("Compare with"),
        pattern=MODEL_NAME,
        json_schema_extra=names_model(SPEAKERS),
        description=_("For a policy: the model that it is compared with."),
    )
    judge: str | None = Field(
        None,
        title=_("Judge"),
        pattern=MODEL_NAME,
        json_schema_extra=names_model(["reward"]),
        description=_("For a policy: the reward model that scores both answers."),
    )
    per_prompt: int = Field(
        1, title=_("Answers per prompt"), ge=1, le=16, description=_("Answers of each model to each prompt.")
    )
    max_new_tokens: int = Field(
        256,
        title=_("Longest answer"),
        ge=1,
        le=2048,
        json_schema_extra=BASIC,
        description=_("In tokens, for both models."),
    )
    temperature: float = _temperature(0.7)
    top_p: float = _top_p(0.9)
    batch_size: int = Field(
        16, title=_("Batch size"), ge=1, le=512, description=_("Answers that are written or scored at the same time.")
    )
    max_length: int = Field(
        1024,
        title=_("Max length"),
        ge=16,
        le=32768,
        description=_("The most tokens that are scored; of longer texts the beginning is left out."),
    )

    @model_validator(mode="after")
    def check_comparison(self) -> EvaluateConfig:
        if (self.baseline is None) != (self.judge is None):
            raise ValueError(
                _("To compare two policies give both a baseline and a judge; to measure a reward model give neither.")
            )
        if self.baseline == self.model:
            raise ValueError(_("A model cannot be compared with itself: choose another baseline."))
        return self


METHODS: dict[str, type[RecipeConfig]] = {
    config.method: config for config in (GenerateConfig, RewardConfig, DPOConfig, EvaluateConfig)
}


def extras(config: type[RecipeConfig], field: str) -> dict[str, Any]:
    """What `json_schema_extra` says of a field."""
    extra = config.model_fields[field].json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def model_fields(config: type[RecipeConfig]) -> dict[str, list[str]]:
    """Fields that name a model -> the kinds of model that fit.

    >>> model_fields(RewardConfig)
    {'model': ['base', 'sft', 'policy']}
    """
    return {name: kinds for name in config.model_fields if (kinds := extras(config, name).get("model"))}


def basic_fields(config: type[RecipeConfig]) -> list[str]:
    """Fields that stand on the launch form; the others fold under "All settings"."""
    return [name for name in config.model_fields if extras(config, name).get("basic")]


def config_for(method: str, values: Mapping[str, Any]) -> RecipeConfig:
    """The method's config from plain values. Raises ValidationError; `explain` turns it into sentences."""
    if method not in METHODS:
        raise UnknownMethod(f"There is no method {method!r}; known are {', '.join(METHODS)}.")
    return METHODS[method].model_validate(dict(values))


class UnknownMethod(ValueError):
    """A method that no recipe has."""


def explain(error: ValidationError, config: type[RecipeConfig]) -> dict[str, str]:
    """One sentence per field, for a person; the key "" holds what concerns several fields.

    >>> try:
    ...     RewardConfig(model="base@1", epochs=0, epoch=3)
    ... except ValidationError as error:
    ...     explain(error, RewardConfig)
    {'epochs': 'Epochs: must be at least 1, not 0.', 'epoch': 'There is no setting "epoch"; did you mean "epochs"?'}
    """
    return {str(item["loc"][0]) if item["loc"] else "": _sentence(dict(item), config) for item in error.errors()}


def _sentence(item: dict[str, Any], config: type[RecipeConfig]) -> str:
    from difflib import get_close_matches

    kind, context = item["type"], item.get("ctx", {})
    if not item["loc"]:
        return str(context.get("error", item["msg"]))
    name, given = str(item["loc"][0]), item.get("input")
    if kind == "extra_forbidden":
        near = get_close_matches(name, config.model_fields, n=1)
        return f'There is no setting "{name}"' + (f'; did you mean "{near[0]}"?' if near else ".")
    label = config.model_fields[name].title or name.replace("_", " ").capitalize()
    match kind:
        case "missing":
            return f"{label}: please choose one."
        case "greater_than_equal":
            said = f"must be at least {context['ge']}, not {given}"
        case "greater_than":
            said = f"must be more than {context['gt']}, not {given}"
        case "less_than_equal":
            said = f"must be at most {context['le']}, not {given}"
        case "less_than":
            said = f"must be less than {context['lt']}, not {given}"
        case "literal_error":
            said = f"must be {context['expected']}, not {given!r}"
        case "string_pattern_mismatch" if extras(config, name).get("model"):
            said = f"must be a model's name and version such as smollm2@1, not {given!r}"
        case "string_pattern_mismatch":
            said = f"{given!r} is not possible here. {config.model_fields[name].description}"
        case "int_parsing" | "int_type" | "int_from_float":
            said = f"must be a whole number, not {given!r}"
        case "float_parsing" | "float_type":
            said = f"must be a number, not {given!r}"
        case _:
            said = item["msg"][0].lower() + item["msg"][1:]
    return f"{label}: {said}."
