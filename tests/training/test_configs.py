"""A config refuses what it does not know and says so in words."""

import json

import pytest
from pydantic import ValidationError

from training.configs import (
    METHODS,
    DPOConfig,
    EvaluateConfig,
    GenerateConfig,
    RewardConfig,
    UnknownMethod,
    basic_fields,
    config_for,
    explain,
    model_fields,
)


def sentences(method: str, **values) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        config_for(method, values)
    return explain(refused.value, METHODS[method])


def test_a_config_survives_json():
    for config in (
        GenerateConfig(model="smollm2@1", temperatures=(0.5,)),
        RewardConfig(model="smollm2@1", max_pairs=96),
        DPOConfig(model="smollm2@1"),
        EvaluateConfig(model="policy@2", baseline="smollm2@1", judge="rm@1"),
    ):
        assert config_for(config.method, json.loads(config.model_dump_json())) == config


def test_every_field_has_a_description_in_plain_words():
    for config in METHODS.values():
        for name, field in config.model_fields.items():
            assert field.description and field.description.endswith("."), f"{config.__name__}.{name}"


def test_every_method_has_basic_fields_and_a_model_to_choose():
    for config in METHODS.values():
        assert "model" in basic_fields(config)
        assert model_fields(config)["model"]


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError):
        RewardConfig(model="base@1").epochs = 2


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    assert sentences("reward", model="base@1", lora_rank=4) == {
        "lora_rank": 'There is no setting "lora_rank"; did you mean "lora_r"?'
    }


def test_errors_are_sentences():
    assert sentences("dpo", epochs=0, beta="much", tuning="half", batch_size=1.5) == {
        "model": "Start from: please choose one.",
        "epochs": "Epochs: must be at least 1, not 0.",
        "beta": "Beta: must be a number, not 'much'.",
        "tuning": "What to train: must be 'lora' or 'full', not 'half'.",
        "batch_size": "Batch size: must be a whole number, not 1.5.",
    }
    assert sentences("generate", model="smollm2") == {
        "model": "Model: must be a model's name and version such as smollm2@1, not 'smollm2'."
    }
    assert sentences("generate", model="smollm2@1", temperatures=[3]) == {
        "": "Each temperature must lie between 0.05 and 2."
    }


def test_two_policies_need_a_baseline_and_a_judge():
    assert "both a baseline and a judge" in sentences("evaluate", model="policy@2", baseline="base@1")[""]
    assert "with itself" in sentences("evaluate", model="base@1", baseline="base@1", judge="rm@1")[""]


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownMethod, match="known are generate, reward, dpo, evaluate"):
        config_for("ppo", {})


def test_the_usual_learning_rate_depends_on_what_is_trained():
    assert RewardConfig(model="b@1").step_size() > RewardConfig(model="b@1", tuning="full").step_size()
    assert DPOConfig(model="b@1", learning_rate=1e-3).step_size() == 1e-3
