"""The real model speaks, and the recipes know no Django."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.recipe


def test_smollm2_answers_in_english(smollm2):
    import torch

    from training.recipes.checkpoints import load_policy, load_tokenizer
    from training.recipes.engine import Request, prompt_tokens, sample

    tokenizer = load_tokenizer(smollm2)
    prompt = prompt_tokens(tokenizer, [{"role": "user", "content": "What is the capital of France?"}])

    answer = sample(
        load_policy(smollm2, torch.float32).eval(),
        tokenizer,
        [Request(prompt, 1.0, key=(1,))],
        top_p=1e-9,
        max_new_tokens=16,
    )[0]

    assert "Paris" in answer.text


def test_the_prepared_model_holds_no_code_and_is_not_made_twice(smollm2):
    from training.recipes.prepare_smollm2 import prepare

    assert {path.suffix for path in smollm2.iterdir()} == {".safetensors", ".json"}
    assert prepare(smollm2) is False


def test_recipes_know_no_django():
    code = """
import importlib, pkgutil, sys
import training.recipes as recipes
for module in pkgutil.walk_packages(recipes.__path__, "training.recipes."):
    importlib.import_module(module.name)
assert "torch" in sys.modules
assert not [name for name in sys.modules if name.partition(".")[0] in ("django", "annotation")], "Django in a recipe"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_run_folder_needs_no_torch_and_no_django():
    code = """
import sys
import training.configs, training.rundir
assert not {"torch", "transformers", "django", "pyarrow", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
