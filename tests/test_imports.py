"""A file imports only what stands before it on the road."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "mlu"

LAYERS = (
    ("errors", "seeding", "process", "record", "rules", "sharing"),
    ("store", "disk"),
    ("data",),
    ("models", "tasks", "optimise"),
    ("meter",),
    ("contracts", "edits", "scores"),
    ("metrics", "canaries"),
    ("methods", "evaluate", "attacks", "unlearner"),
    ("tracking",),
    ("experiment",),
    ("progress", "resumption"),
    ("team",),
    ("stages",),
    ("shadows",),
    ("exposure",),
    ("results", "report"),
    ("pipeline",),
    ("config", "search"),
    ("release",),
    ("certificate", "library"),
    ("sweep",),
    ("cli",),
    ("__main__", "certify", "predict"),
)
"""Each file or folder may import from the layers above it, and from its own folder."""
COMMANDS = {"data.prepare", "data.doctor", "certify", "predict"}
"""Commands: they stand below all others, whatever their folder."""
WITHIN_A_LAYER = {
    ("models.classifier", "optimise"), ("models.classifier", "tasks")
}  # fmt: skip
"""Neighbours that may know each other."""
ONLY = {
    "hydra": {"config", "cli", "sweep"},
    "omegaconf": {"config", "cli", "sweep"},
    "wandb": {"tracking"},
    "lightning": {
        *("data.module", "models.classifier", "unlearner", "library"),
        *("tracking", "progress", "resumption", "team", "stages"),
    },
    "matplotlib": {"report.figures", "report.pictures", "report.style", "data.synthetic", "data.doctor"},
}
"""Libraries that only these files know."""

FILES = {
    str(file.relative_to(ROOT).with_suffix("")).replace("/", "."): file
    for file in sorted(ROOT.rglob("*.py"))
    if file.name != "__init__.py"
}


@cache
def imported(file: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(file: Path) -> set[str]:
    names = {name.removeprefix("mlu.") for name in imported(file) if name.startswith("mlu.")}
    return names & set(FILES)


def layer(module: str) -> int:
    top = "__main__" if module in COMMANDS else module.split(".")[0]
    return next(number for number, names in enumerate(LAYERS) if top in names)


@pytest.mark.parametrize("module", FILES)
def test_imports_point_upstream(module):
    for other in ours(FILES[module]):
        same_folder = "." in module and module.split(".")[0] == other.split(".")[0]
        allowed = layer(other) < layer(module) or same_folder or (module, other) in WITHIN_A_LAYER
        lazily = (module, other) in {("config", "experiment"), ("sweep", "report.table")}
        assert allowed or lazily, f"mlu.{module} must not import mlu.{other}"


def test_commands_are_imported_by_commands_alone():
    for module, file in FILES.items():
        assert module in COMMANDS or not ours(file) & COMMANDS


@pytest.mark.parametrize("folder", ["methods", "evaluate", "attacks"])
def test_methods_and_evaluation_do_not_know_each_other(folder):
    apart = {"methods", "evaluate", "attacks"} - {folder}
    for module, file in FILES.items():
        if module.startswith(f"{folder}."):
            assert not {name.split(".")[0] for name in ours(file)} & apart


def test_methods_do_not_import_each_other():
    for module, file in FILES.items():
        if module.startswith("methods.") and module != "methods.parts":
            assert {name for name in ours(file) if name.startswith("methods.")} <= {"methods.parts"}


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_known_where_it_belongs(library):
    users = {module for module, file in FILES.items() if any(name.split(".")[0] == library for name in imported(file))}
    assert users == ONLY[library]


def test_the_report_of_many_runs_starts_without_torch():
    """All that it imports, whatever imports that."""
    waiting, reached = ["report.__main__"], set()
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting += ours(FILES[module]) - reached
    libraries = {name.split(".")[0] for module in reached for name in imported(FILES[module])}
    assert not libraries & {"torch", "lightning", "hydra", "wandb"}
    assert "report.page" in reached


def test_every_file_has_a_layer_and_every_layer_a_file():
    tops = {module.split(".")[0] for module in FILES}
    assert tops == {name for names in LAYERS for name in names}
