"""The order of the house: a folder imports only folders before it, and a name means one thing."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mlu"

EVERYTHING = (
    "system data models training scores metrics unlearning evaluate attacks methods "
    "runs report pipeline auditing launch"
)
MAY_IMPORT = {
    "system": "",
    "data": "system",
    "models": "system data",
    "training": "system data models",
    "scores": "system data models",
    "metrics": "system data models",
    "unlearning": "system data models training metrics",
    "evaluate": "system data models metrics",
    "attacks": "system data models scores metrics",
    "methods": "system data models training scores unlearning",
    "runs": "system data models metrics",
    "report": "system metrics runs",
    "pipeline": "system data models training metrics unlearning evaluate attacks methods runs",
    "auditing": "system data models training metrics evaluate attacks runs report pipeline",
    "launch": "system data models training unlearning attacks methods runs pipeline",
    "doors": EVERYTHING,
}
"""Folder -> the folders that it may import besides itself. Doors are the files at the top."""

ONLY = {
    "hydra": {"launch"},
    "omegaconf": {"launch"},
    "optuna": {"launch"},
    "wandb": {"pipeline"},
    "lightning": {"training", "unlearning", "pipeline", "doors"},
    "matplotlib": {"data", "runs", "report"},
    "onnxruntime": {"models"},
}
"""Library -> the folders that know it."""

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
    """Modules of this package that a file imports, such as `data.split`."""
    names = {name.removeprefix("mlu.") for name in imported(file) if name.startswith("mlu.")}
    return names & set(FILES)


def folder_of(module: str) -> str:
    return module.split(".")[0] if "." in module else "doors"


def public_definitions(file: Path) -> set[str]:
    """Names of the functions and classes of a file that others may use."""
    body = ast.parse(file.read_text()).body
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name for name in found if not name.startswith("_")}


def test_every_folder_has_a_row():
    assert {folder_of(module) for module in FILES} == set(MAY_IMPORT)


def test_rows_stand_in_the_order_of_the_road():
    rows = list(MAY_IMPORT)
    for number, folder in enumerate(rows):
        assert set(MAY_IMPORT[folder].split()) <= set(rows[:number]), folder


@pytest.mark.parametrize("module", FILES)
def test_a_folder_imports_only_folders_before_it(module):
    folder = folder_of(module)
    for other in ours(FILES[module]):
        allowed = {folder, *MAY_IMPORT[folder].split()}
        assert folder_of(other) in allowed, f"mlu.{module} must not import mlu.{other}"


def test_methods_do_not_import_each_other():
    for module, file in FILES.items():
        others = [name for name in ours(file) if name.startswith("methods.")]
        if module.startswith("methods."):
            assert all(name.startswith("methods.parts.") for name in others), module


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_known_where_it_belongs(library):
    users = {
        folder_of(module)
        for module, file in FILES.items()
        if any(name.split(".")[0] == library for name in imported(file))
    }
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


def test_no_two_modules_share_the_name_of_a_public_function_or_class():
    homes = defaultdict(list)
    for module, file in FILES.items():
        for name in public_definitions(file) - {"main"}:
            homes[name].append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}
