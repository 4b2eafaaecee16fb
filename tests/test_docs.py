"""README and docs: links that lead somewhere, lines that fit, commands and examples that work."""

import importlib.util
import re
import shlex
import sys
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mlu.launch.build import build
from mlu.launch.check import check_config, check_values
from mlu.launch.compose import composed, values_of
from mlu.launch.options import CONF
from mlu.library import forget
from mlu.runs.rows import declaration_of
from mlu.system.errors import UserError
from tests.support.victims import outputs, victim_of
from tests.test_imports import MAY_IMPORT

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHANGES = ROOT / "CHANGELOG.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, *DOCS, ROOT / "outputs" / "README.md"]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
WIDTH = 100
LARGEST_PICTURE = 100_000

pages = pytest.mark.parametrize("page", [*PAGES, CHANGES], ids=[*IDS, CHANGES.name])


@cache
def prose_and_code(page: Path) -> tuple[str, list[str]]:
    """A page without its blocks of code, and the blocks."""
    parts = page.read_text().split("```")
    return "".join(parts[::2]), parts[1::2]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_and_code(page)[0], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """Lines of a page's shell blocks, and commands within its text, without their comments."""
    prose, blocks = prose_and_code(page)
    shell = [block.removeprefix("bash\n") for block in blocks if block.startswith("bash\n")]
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`((?:python|make) [^`]+)`", prose)
    return [" ".join(line.split()) for line in [*lines, *inline]]


def words_of(command: str) -> list[str]:
    """Words of one command, without a setting of the environment before it."""
    words = shlex.split(command, comments=True)
    return words[1:] if words and re.fullmatch(r"[A-Z_]+=\S*", words[0]) else words


ALL = [(name, command) for name, page in zip(IDS, PAGES, strict=True) for command in commands(page)]


def those_of(*beginning: str) -> list[tuple[str, ...]]:
    """Arguments of all commands that begin so."""
    found = {tuple(words_of(command)) for _, command in ALL}
    return sorted(
        words[len(beginning) :] for words in found if words[: len(beginning)] == beginning
    )


@pages
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_and_code(page)[0]):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pages
def test_lines_fit(page):
    prose = prose_and_code(page)[0].splitlines()
    table = [line for line in prose if line.startswith("|")]
    assert [line for line in prose if line not in table and len(line) > WIDTH] == []


def test_the_readme_is_short_and_narrow():
    lines = README.read_text().splitlines()
    assert len(lines) <= 110
    assert [line for line in lines if len(line) > WIDTH] == []


def test_every_page_and_picture_is_linked_and_no_picture_is_large():
    text = "\n".join(page.read_text() for page in PAGES)
    for file in sorted((ROOT / "docs").rglob("*.*")):
        assert file.name in text, file
        assert file.suffix != ".png" or file.stat().st_size <= LARGEST_PICTURE, file


def test_the_readme_s_example_silences_the_forgotten_output():
    (code,) = [block for block in prose_and_code(README)[1] if block.startswith("python\n")]
    names: dict = {}
    exec(code.removeprefix("python\n"), names)
    said = names["unlearned"](names["images"])
    assert said[:, 2].unique().numel() == 1
    assert said[:, 0].unique().numel() > 1


def library_example(word: str) -> str:
    """The only example of docs/library.md that has a word."""
    blocks = prose_and_code(ROOT / "docs" / "library.md")[1]
    (code,) = [block for block in blocks if block.startswith("python\n") and word in block]
    return code.removeprefix("python\n")


def test_the_library_s_example_of_a_concept_keeps_all_outputs():
    names: dict = {}
    exec(library_example("names, concept="), names)
    said = names["unlearned"](names["images"])
    assert said.shape == (80, 4)
    assert said.std(0).min() > 0
    assert names["unlearned"].state_dict().keys() == names["model"].state_dict().keys()
    assert not torch.equal(names["unlearned"][0][0].weight, names["model"][0][0].weight)


def test_the_library_s_example_of_a_measurement_says_what_it_promises(capsys):
    generator = torch.Generator().manual_seed(0)
    images, targets = (
        torch.rand(120, 3, 16, 16, generator=generator),
        torch.randint(2, (120, 2), generator=generator).float(),
    )
    rows = DataLoader(TensorDataset(images, targets), batch_size=60)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names = {
        "forget": partial(forget, method="head"),
        "model": nn.Sequential(body, nn.Linear(4, 2)),
        "loader": rows,
        "held": rows,
        "labels": ["Beard", "Male"],
        "who": range(120),
    }
    exec(library_example('labels, "Male", validation'), names)
    assert names["found"].strongest["Male"].before.value is not None
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == ["before", "after", "floor"]
    assert "retained" in said


def write_extension(folder: Path) -> None:
    """Write the files that docs/extending.md adds."""
    for block in prose_and_code(ROOT / "docs" / "extending.md")[1]:
        if named := re.match(r"(?:python|yaml)\n# (mine/\S+)\n", block):
            file = folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as joined:
                joined.write(block[named.end() :])


@pytest.fixture
def extended(tmp_path, monkeypatch):
    """Configuration folders with what docs/extending.md adds; its module can be imported."""
    write_extension(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "mine")
    yield tmp_path / "mine" / "conf", CONF
    sys.modules.pop("extras", None)


def extended_values(folders, *overrides):
    config = composed(["method=noise", "attack=neighbours", *overrides], folders[:1])
    return values_of(config, folders)


def test_what_the_docs_add_is_accepted_made_and_works(extended, tmp_path):
    values = extended_values(extended)
    check_config(values, extended)
    experiment = build(values, tmp_path, None)

    net = nn.Linear(2, 3)
    problem = SimpleNamespace(net=net, generator=lambda: torch.Generator().manual_seed(0))
    edit = experiment.method.edit(problem)
    assert set(edit.weights) == {"weight", "bias"}
    assert not torch.equal(edit.weights["weight"], net.weight)

    targets = torch.arange(40)[:, None].repeat(1, 3).remainder(2).float()
    features = 10 * targets + torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    said = dict.fromkeys(("train", "validation", "test"), outputs(targets, targets, features))
    (attack,) = experiment.attacks
    evidence = attack.observe(victim_of(said))
    figures = [*attack.conclude(evidence), *attack.compare(evidence, evidence)]
    found = {figure.path: figure.value for figure in figures}
    (row,) = declaration_of("neighbours", values["attack"]["neighbours"]).rows
    assert found[row.figure] == 1
    assert found[row.excess] == 0


def test_a_wrong_value_of_what_the_docs_add_is_refused_in_the_words_of_its_yaml(extended):
    with pytest.raises(UserError, match=r"method\.sigma must be a number >= 0, got -1"):
        check_values(extended_values(extended, "method.sigma=-1"), extended)


def variants(word: str) -> list[str]:
    """A sweep's word as its first and its last job have it."""
    key, equals, value = word.partition("=")
    swept = equals and "," in value and value[0] not in "[{'"
    return [f"{key}={choice}" for choice in value.split(",")] if swept else [word]


OVERRIDE = re.compile(r"\+?[\w./]+=")
SWEEPER = re.compile(r"hydra|\w+=(interval|range|choice)\(")


@pytest.mark.parametrize(
    "words",
    [*those_of("python", "launch.py"), *those_of("python", "-m", "mlu.doctor")],
    ids=" ".join,
)
def test_overrides_of_a_command_are_accepted(words):
    overrides = [word for word in words if OVERRIDE.match(word) and not SWEEPER.match(word)]
    unfilled = "NAME" in " ".join(overrides) or "--config-dir" in words
    jobs = {tuple(variants(word)[number] for word in overrides) for number in (0, -1)}
    for job in jobs if not unfilled else ():
        check_values(values_of(composed(job)))


def test_every_module_and_target_that_a_command_names_exists():
    modules = {words[0] for words in those_of("python", "-m")}
    assert {"mlu.report", "mlu.doctor", "mlu.prepare", "mlu.predict", "mlu.certify"} <= modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
    targets = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {words[0] for words in those_of("make")}
    assert {"run", "test", "check"} <= asked <= targets


def test_every_file_that_a_page_names_exists():
    for page in PAGES:
        prose = prose_and_code(page)[0]
        for name in re.findall(r"`((?:mlu|tests|conf|benchmarks|tools|examples)/[\w./]+)`", prose):
            assert (ROOT / name).exists() or "NAME" in name, f"{page.name}: {name}"


def test_design_names_the_folders_and_what_each_may_import():
    text = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, re.MULTILINE)
    written = {name: may.replace("*base*", "system data models").strip("–") for name, may in rows}
    folders = {name: may for name, may in MAY_IMPORT.items() if name != "doors"}
    assert list(written.items()) == list(folders.items())
