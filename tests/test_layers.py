"""The borders of the house. If one of these fails, move the code, not the border."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TORCH_FAMILY = {"torch", "transformers", "trl", "datasets", "peft", "accelerate", "safetensors", "gguf"}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "datasets",
    "peft",
    "accelerate",
    "ray",
    "pandas",
    "scipy",
    "sklearn",
    "pyarrow",
}
LAZY_EVERYWHERE = {"pandas", "scipy", "sklearn", "pyarrow"}

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("annotation", "training", "config")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts
}
TREES = {module: ast.parse(path.read_text(), str(path)) for module, path in FILES.items()}


def imports_of(module: str, *, lazy: bool = True, checked_types: bool = True) -> set[str]:
    """Every module that is named by an import statement or call: `from a import b` names a and a.b."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in _nodes(TREES[module], lazy=lazy, checked_types=checked_types):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "get_model"):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return names


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def _nodes(node: ast.AST, *, lazy: bool, checked_types: bool) -> Iterator[ast.AST]:
    """All nodes; without `lazy` only what runs when the module is loaded, without `checked_types` what runs at all."""
    for child in ast.iter_child_nodes(node):
        if not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not checked_types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _nodes(child, lazy=lazy, checked_types=checked_types)


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def modules(*packages: str, without: tuple[str, ...] = ()) -> list[str]:
    return [module for module in FILES if under(module, *packages) and not under(module, *without)]


def crossings(found: list[str], forbidden: set[str], *, allowed: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Which of these modules import something forbidden: {module: names}."""
    crossed = {
        module: sorted(name for name in imports_of(module) if under(name, *forbidden) and not under(name, *allowed))
        for module in found
    }
    return {module: names for module, names in crossed.items() if names}


def test_the_parser_sees_lazy_and_relative_imports_too():
    """A test of the test: launchers import their relatives, and the recipes do import torch somewhere."""
    assert any(under(name, "torch") for module in modules("training.recipes") for name in imports_of(module))
    assert "annotation.models" in imports_of("annotation.assignment")


@pytest.mark.parametrize("module", modules("annotation"))
def test_annotation_names_nothing_of_training(module):
    """Neither by an import nor by a string such as apps.get_model("training.Run") or a URL name of its admin."""
    named = {name for name in imports_of(module) if under(name, "training")}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.replace("/", ".").replace(":", ".").replace("_", ".").split(".")
            if words[0] == "training" and " " not in node.value:
                named.add(node.value)
    assert not named


def test_annotations_templates_name_nothing_of_training():
    pages = (ROOT / "templates" / "annotation").rglob("*.html")
    assert not [page.name for page in pages if "training/" in page.read_text() or "admin:training" in page.read_text()]


def test_training_takes_rows_by_the_doors_of_annotation():
    """It changes by imports, takes rows by exports, and reads who may do what, agreement and quality.

    Beyond these it names the project and its roles, never the rows of judging (their types, at most); what renders
    text; and in commands and the demo, how a project is found, made and judged by simulated people.
    """
    doors = ["imports", "exports", "access", "agreement", "quality", "comparisons", "rendering"]
    doors += [f"models.{name}" for name in ("Project", "Membership", "Role", "Kind")]
    for_commands = ["management.project_command", "projects", "simulated"]
    commands = modules("training.management", "training.demo", "training.loop")

    assert rows_named(modules("training", without=tuple(commands)), doors) == {}
    assert rows_named(commands, doors + for_commands) == {}


def rows_named(found: list[str], doors: list[str]) -> dict[str, list[str]]:
    """What these modules take from annotation by another way, imports for type checkers left out."""
    allowed = tuple(f"annotation.{door}" for door in doors)
    named = {
        module: sorted(
            name
            for name in imports_of(module, checked_types=False)
            if under(name, "annotation")
            and name not in ("annotation", "annotation.models")
            and not under(name, *allowed)
        )
        for module in found
    }
    return {module: names for module, names in named.items() if names}


def test_torch_lives_under_recipes_only():
    outside = modules("annotation", "training", "config", without=("training.recipes",))

    assert crossings(outside, TORCH_FAMILY - {"safetensors"}) == {}


def test_recipes_know_no_django():
    """They run without Django from a downloaded folder; of the house they know their config and their folder."""
    house = ("training.recipes", "training.configs", "training.rundir", "annotation.comparisons")
    found = modules(*house)

    assert crossings(found, {"django", "rest_framework", "config"}) == {}
    assert crossings(found, {"annotation", "training"}, allowed=house) == {}


def test_ray_is_imported_by_its_launcher_only():
    assert crossings(modules("annotation", "training", "config", without=("training.launchers.ray",)), {"ray"}) == {}


def test_tables_and_statistics_are_imported_where_they_are_needed():
    """pyarrow alone costs a web process half a second and 40 MB."""
    outside = modules("annotation", "training", "config", without=("training.recipes",))
    at_the_top = {
        module: sorted(
            name for name in imports_of(module, lazy=False, checked_types=False) if under(name, *LAZY_EVERYWHERE)
        )
        for module in outside
    }
    assert {module: names for module, names in at_the_top.items() if names} == {}


@pytest.mark.parametrize("app", ["annotation", "training"])
def test_imports_run_down_from_urls_to_models(app):
    """urls -> views, admin, commands -> verbs -> models; nothing looks up."""
    top = (f"{app}.urls", f"{app}.api_urls")
    doors = (f"{app}.views", f"{app}.admin", f"{app}.management")
    verbs = modules(app, without=(*top, *doors, f"{app}.models", f"{app}.apps"))

    assert crossings(modules(f"{app}.models"), {app}) == {}
    assert crossings(verbs, {*top, *doors}) == {}
    assert crossings(modules(*doors), {*top, "config.urls"}) == {}


def test_a_web_process_loads_nothing_heavy(tmp_path):
    """A fresh interpreter that sets Django up and resolves every URL, with an import hook on the torch family."""
    code = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TORCH_FAMILY!r}:
            raise AssertionError(name + " imported by a web process")

sys.meta_path.insert(0, Refuse())
import config.wsgi
from django.core.management import call_command
from django.urls import get_resolver
call_command("check")

def walk(resolver):
    for pattern in resolver.url_patterns:
        walk(pattern) if hasattr(pattern, "url_patterns") else pattern.callback

walk(get_resolver())
print(*sorted({HEAVY!r} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    environment = {"STORAGE": str(tmp_path), "PATH": ""}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].strip() == ""
