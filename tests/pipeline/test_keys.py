import ast
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mlu
from mlu.attacks.shadow import ShadowModels
from mlu.pipeline import keys, trained
from mlu.pipeline.context import context_of
from mlu.pipeline.evidence import digest_of, leaks_of
from mlu.pipeline.keys import (
    EVIDENCE_CODE,
    METHOD_CODE,
    MODEL_CODE,
    VERIFY_CODE,
    WATCH_CODE,
    evidence_key,
    method_key,
    model_key,
)
from mlu.pipeline.models import models_of
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import unlearned_model
from mlu.system.store import Store, code_digest, digest

ROOT = Path(mlu.__file__).parent
SMALL = ["dataset.images=60", "dataset.image_size=16", "training.epochs=1"]

DECIDE_NOTHING = {
    "mlu.attacks.contract": "forms; what fills them is made elsewhere",
    "mlu.data.base": "forms; the data set's content is in its fingerprint",
    "mlu.data.labels": "from names to columns, which are in the key",
    "mlu.methods.retrain": "a mark, without code of its own",
    "mlu.pipeline.experiment": "a form; each object in it has its own key",
    "mlu.system.commands": "words",
    "mlu.system.disk": "how files are written",
    "mlu.system.errors": "words",
    "mlu.system.progress": "a bar that shows how far it is",
    "mlu.system.process": "how processes start, wait and end",
    "mlu.system.store": "where things are kept",
}
"""Modules of this package that need not be in a key, and why."""

ONLY_METHODS = ("mlu.pipeline.unlearned", "mlu.unlearning")
"""Reached by shadow models of any kind; in the key of those that are unlearned."""


def imports_of(file: Path) -> set[str]:
    """All of this package that a file imports, wherever in it: modules, not names in them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mlu":
            deeper = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in deeper if files_of(name)} or {node.module}
    return found


def files_of(module: str) -> list[Path]:
    """The files of a module or of a package; none where there is no such module."""
    place = ROOT.joinpath(*module.split(".")[1:])
    if place.is_dir():
        return sorted(place.rglob("*.py"))
    file = place.with_suffix(".py")
    return [file] if file.is_file() else []


def covered(module: str, parts) -> bool:
    return any(f"{module}.".startswith(f"{part}.") for part in parts)


def reached_from(modules, without=()) -> set[str]:
    """All modules that some import, and those import, but for what is imported by `without`."""
    waiting, reached = [*modules], set()
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            if not covered(module, without):
                waiting += set().union(*map(imports_of, files_of(module)))
    return reached


CODE = {
    # Of the trace a trained model has the form alone.
    "model": (("mlu.pipeline.trained",), MODEL_CODE, ("mlu.metrics.trace",)),
    "method": (
        ("mlu.pipeline.unlearned", "mlu.methods"),
        (*MODEL_CODE, *METHOD_CODE, *VERIFY_CODE),
        (),
    ),
    "evidence": (
        ("mlu.pipeline.evidence", "mlu.attacks"),
        (*MODEL_CODE, *EVIDENCE_CODE),
        (*ONLY_METHODS, "mlu.pipeline.models"),
    ),
}
"""What is kept: where its code begins, the lists that its key names, what else has its own key."""


@pytest.mark.parametrize("kept", CODE)
def test_all_code_that_decides_is_part_of_the_key(kept):
    start, named, others = CODE[kept]
    without = (*DECIDE_NOTHING, *others)
    reached = reached_from(start, without)
    assert {module for module in reached if not covered(module, (*named, *without))} == set()


def test_no_list_names_what_is_not_reached():
    reached = set().union(*(reached_from(start, DECIDE_NOTHING) for start, _, _ in CODE.values()))
    everything = (*MODEL_CODE, *METHOD_CODE, *VERIFY_CODE, *EVIDENCE_CODE)
    for part in (*everything, *DECIDE_NOTHING):
        assert files_of(part), f"there is no {part}"
        assert any(covered(module, (part,)) for module in reached), part
    assert not [part for part in everything if part in DECIDE_NOTHING]


def run_by(work) -> set[str]:
    """Modules of this package whose code ran, other than at import."""
    files = set()

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_name != "<module>":
            files.add(frame.f_code.co_filename)

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)

    ours = [Path(file) for file in files if Path(file).is_relative_to(ROOT)]

    return {".".join(("mlu", *file.relative_to(ROOT).with_suffix("").parts)) for file in ours}


def test_all_code_that_runs_is_part_of_the_key(experiment, tmp_path):
    """The same by watching: also what is reached by no import."""
    overrides = ("method=head", "canaries.withheld=0.3", "trace=1", f"outputs={tmp_path}")
    setup = experiment(*SMALL, *overrides)
    source = setup.dataset.load()
    setup = replace(setup, dataset=Loaded(source, **vars(setup.dataset)))
    found = {}

    def make():
        found["context"] = context_of(setup)
        found["original"] = original_model(found["context"])

    def forget():
        unlearned_model(found["context"], setup.method, found["original"])

    trained_by = run_by(make)
    assert "mlu.training.classifier" in trained_by
    assert not [one for one in trained_by if not covered(one, (*MODEL_CODE, *DECIDE_NOTHING))]

    forgotten_by = run_by(forget)
    assert "mlu.methods.head" in forgotten_by
    assert "mlu.pipeline.watching" in forgotten_by
    named = (*MODEL_CODE, *METHOD_CODE, *VERIFY_CODE, *DECIDE_NOTHING)
    assert not [one for one in forgotten_by if not covered(one, named)]


class Loaded:
    """A data set that is there."""

    def __init__(self, source, **fields):
        self.source = source
        vars(self).update(fields)

    def load(self):
        return self.source


@pytest.fixture
def key(experiment):
    """The key of a model, of what a method makes of it, or of evidence, by overrides."""

    def one(*overrides, of="model"):
        context = context_of(experiment(*SMALL, "attack=lira", *overrides))
        if of == "model":
            return model_key(context)
        if of == "method":
            return method_key(context)
        return evidence_key(context, context.experiment.attacks[0])

    return one


OTHER = {
    "model": [
        "seed=1",
        "split_seed=1",
        "train_seed=1",
        "dataset.seed=1",
        "dataset.labels=[Male,Bald]",
        "training.lr=0.01",
        "training.epochs=2",
        "trainer.precision=bf16-mixed",
        "trainer.compile=aot_eager",
        "canaries.withheld=0.5",
    ],
    "method": [
        "method=wf",
        "method.tuning.lr=0.5",
        "method.tuning.steps=1",
        "phi=0.07",
        "requests=[[Male],[Young]]",
        "forget_label.names=[Bald]",
        "trace=3 keep=best",
        "trace=4 keep=best",
    ],
    "evidence": [
        "seed=1",
        "split_seed=1",
        "training.lr=0.01",
        "forget_label.names=[Bald]",
        "attack.lira.shadows=10",
        "attack.lira.gamma=2",
        "attack=mia",
    ],
}
SAME = {
    "model": [
        *("method=wf", "forget_label.names=[Bald]", "attack=mia", "trainer.workers=1"),
        *("method_seed=1", "split_seed=42", "train_seed=42"),
    ],
    "method": ["seed=1", "method_seed=1", "attack=mia", "training.lr=0.01", "trace=3"],
    "evidence": [
        *("attack.lira.jobs=7", "method=wf", "logger=wandb", "attack.lira.gamma=1"),
        *("train_seed=1", "method_seed=1"),
    ],
}


@pytest.mark.parametrize("of", OTHER)
def test_whatever_decides_gives_another_key(key, of):
    found = [digest(key(*override.split(), of=of)) for override in ("", *OTHER[of])]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("of", SAME)
def test_whatever_decides_nothing_gives_the_same_key(key, of):
    for override in SAME[of]:
        assert key(override, of=of) == key(of=of), override


PARTS = {
    "model": {
        "data": "dataset.seed=1",
        "backbone": "backbone.widths",
        "weights": "backbone.weights",
        "training": "training.momentum=0.5",
        "precision": "trainer.precision=bf16-mixed",
        "compile": "trainer.compile=aot_eager",
        "split_seed": "split_seed=1",
        "train_seed": "train_seed=1",
        "canaries": "canaries.withheld=0.5",
        "planted": "canaries.withheld=0.5 forget_label.names=[Bald]",
        "code": "MODEL_CODE",
        "torch": "torch",
        "dataset": "the code of a class from outside",
    },
    "method": {
        "method": "method.tuning.lr=0.5",
        "methods": "METHOD_CODE",
        "requests": "requests=[[Male],[Young]]",
        "keep": "trace=3 keep=best",
        "verified": "method=wp method.rounds=2 method.verify=0.6",
    },
    "evidence": {
        "seed": "seed=1 split_seed=42",
        "forgotten": "forget_label.names=[Bald]",
        "attack": "attack.lira.gamma=2",
        "attacks": "EVIDENCE_CODE",
    },
}
"""What each key names, and what changes it."""


def test_every_part_of_a_key_is_in_the_table(key):
    model = {*key()}
    assert model == {*PARTS["model"]}
    assert {*key(of="method")} == {*PARTS["method"]}
    assert {*key(of="evidence")} == model - {"train_seed"} | {*PARTS["evidence"]}


@pytest.mark.parametrize(
    ("of", "part"),
    [(of, part) for of, parts in PARTS.items() for part, change in parts.items() if "=" in change],
)
def test_each_setting_changes_the_part_that_names_it_and_few_others(of, part, key):
    """So a key that lacks the part is the same for both."""
    words = PARTS[of][part].split()
    before = key(*(["canaries.withheld=0.5"] if part == "planted" else []), of=of)
    after = key(*words, of=of)
    changed = {name for name in before if before[name] != after[name]}
    together = {
        "canaries": {"planted"},
        "requests": {"forgotten"},
        "verified": {"method"},
    }
    assert part in changed
    assert changed - {part} <= together.get(part, set())


def keys_asked(monkeypatch, work) -> dict:
    """The key of each entry of the cache that some work asks for, by its kind."""
    asked, read = {}, Store.read

    def spy(self, kind, key, build, open_entry):
        asked.setdefault(kind, []).append(dict(key))
        return read(self, kind, key, build, open_entry)

    monkeypatch.setattr(Store, "read", spy)
    work()
    return asked


ENTRIES = {
    "original": {*PARTS["model"]},
    "random": {*PARTS["model"]},
    "retrain": {*PARTS["model"], "forgotten"},
    "shadow": {*PARTS["model"], "images"},
    "shadow-retrain": {*PARTS["model"], "images", "forgotten"},
    "shadow-unlearned": {
        *(*PARTS["model"], *PARTS["method"]),
        *("images", "forgotten", "method_seed"),
    },
    "attack-lira": {
        *(*PARTS["model"], *PARTS["evidence"]),
        *("original", "retrain", "model", "of"),
    }
    - {"train_seed"},
}
"""By the kind of an entry: what its key must name; evidence of the unlearned names the method."""


def test_every_entry_is_kept_under_all_that_it_depends_on(experiment, monkeypatch, tmp_path):
    settings = ("attack=lira", "attack.lira.shadows=6", "attack.lira.jobs=1", "method=head")
    context = context_of(experiment(*SMALL, *settings, f"outputs={tmp_path}"))
    asked = keys_asked(monkeypatch, lambda: leaks_of(context, models_of(context)))
    assert {kind: {*keys[0]} for kind, keys in asked.items()} == ENTRIES
    unlearned = [key for key in asked["attack-lira"] if key["of"] == "unlearned"]
    assert all({*PARTS["method"]} <= {*key} for key in unlearned)
    assert unlearned
    # One of each model, by the weights of the model itself.
    assert len({key["model"] for key in asked["attack-lira"]}) == len(asked["attack-lira"])
    # And each shadow model with a seed and images of its own.
    assert len({key["train_seed"] for key in asked["shadow"]}) == 6
    assert len({key["images"] for key in asked["shadow"]}) == 6


def test_what_is_kept_of_an_attack_depends_on_the_weights_it_looks_at(experiment, monkeypatch):
    """Also on those of the original and of Retrain, beside which it holds them."""
    context = context_of(experiment(*SMALL, "attack=mia", "method=head"))
    models = models_of(context)
    asked = keys_asked(monkeypatch, lambda: leaks_of(context, models))
    for name, model in models.by_name().items():
        (found,) = [key for key in asked["attack-mia"] if key["of"] == name]
        assert found["model"] == digest_of(model.net)
        assert found["original"] == digest_of(models.original.net)
        assert found["retrain"] == digest_of(models.retrain.net)


BRIEF = ("method=wf", "attack=none", "method.tuning.steps=1", "method.images=20")


@pytest.fixture
def made(experiment, tmp_path):
    """What a run of some seeds makes, in one cache: by name, all weights, or rows of a split."""

    def one(*overrides, place="cache"):
        setup = experiment(*SMALL, *BRIEF, *overrides, f"outputs={tmp_path / place}")
        context = context_of(setup)
        models = models_of(context)
        found = {name: digest_of(model.net) for name, model in models.by_name().items()}
        found["split"] = digest([split.rows.tolist() for split in context.data.splits.values()])
        return found, {name for name, cost in models.costs().items() if cost.cached}

    return one


@pytest.mark.parametrize(
    ("other", "same", "cached"),
    [
        ("method_seed=1", {"original", "retrain", "random", "split"}, {"original", "retrain"}),
        ("train_seed=1", {"split"}, set()),
        ("split_seed=1", {"random"}, set()),
        ("seed=1", set(), set()),
        (
            "seed=1 split_seed=42 train_seed=42 method_seed=42",
            {"original", "retrain", "random", "split", "unlearned"},
            {"original", "retrain"},
        ),
    ],
)
def test_each_seed_decides_its_part_and_no_other(made, other, same, cached):
    """Weights are compared with those of another cache: what is taken from one must be the same."""
    first, _ = made()
    second, found = made(*other.split())
    assert {name for name in first if first[name] == second[name]} == same
    assert found == cached
    assert made(*other.split(), place="alone")[0] == second


def test_with_canaries_the_forgotten_label_decides_what_is_trained(key):
    withheld = "canaries.withheld=0.5"
    assert key(withheld, "forget_label.names=[Bald]") != key(withheld)


@pytest.fixture
def key_with(experiment):
    """The key of a model whose backbone has other fields."""
    context = context_of(experiment(*SMALL))

    def one(**fields):
        backbone = replace(context.experiment.backbone, **fields)
        other = replace(context.experiment, backbone=backbone)
        return digest(model_key(replace(context, experiment=other)))

    return one


def test_another_width_gives_another_key(key_with):
    assert len({key_with(), key_with(widths=(8, 16)), key_with(widths=(16, 8))}) == 3
    assert key_with(widths=[8, 16]) == key_with(widths=(8, 16))


def test_a_file_of_weights_counts_by_its_content(key_with, tmp_path):
    def with_weights(name, content):
        (tmp_path / name).write_bytes(content)
        return key_with(weights=str(tmp_path / name))

    first = with_weights("one.pt", b"1")
    assert with_weights("two.pt", b"1") == first
    assert with_weights("one.pt", b"2") != first


def test_a_data_set_of_one_s_own_counts_by_its_code(experiment, tmp_path, monkeypatch):
    """What its images are is in their fingerprint; what batches and splits it makes is not."""
    source = tmp_path / "own_faces.py"
    source.write_text("from mlu.data.sets.faces.dataset import Faces\n\nclass Own(Faces): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_faces", raising=False)
    monkeypatch.setattr("mlu.system.store.code_digest", code_digest.__wrapped__)
    plain = context_of(experiment(*SMALL))
    dataset = importlib.import_module("own_faces").Own(**vars(plain.experiment.dataset))
    own = replace(plain, experiment=replace(plain.experiment, dataset=dataset))

    found = [model_key(plain), model_key(own)]
    source.write_text(source.read_text() + "# changed\n")
    found.append(model_key(own))
    assert found[0]["dataset"] is None
    assert len({digest(key) for key in found}) == 3
    assert all({**key, "dataset": None} == found[0] for key in found)


WAYS = {
    "MODEL_CODE": ("model",),
    "METHOD_CODE": ("method",),
    "WATCH_CODE": ("method", "trace=3", "keep=best"),
    "VERIFY_CODE": ("method", "method=wp", "method.rounds=2", "method.verify=0.6"),
    "EVIDENCE_CODE": ("evidence",),
}
"""A list of code, which key names it, and the settings under which it does."""


@pytest.mark.parametrize("code", WAYS)
def test_other_code_gives_another_key(key, monkeypatch, code):
    of, *settings = WAYS[code]
    before, changed = key(*settings, of=of), getattr(keys, code)

    def another(*modules):
        return code_digest(*modules) + "x" * (modules == changed)

    monkeypatch.setattr(keys, "code_digest", another)
    assert key(*settings, of=of) != before


def test_code_that_watches_decides_nothing_where_the_last_step_is_kept(key, monkeypatch):
    before = key("trace=3", of="method")
    digests = {WATCH_CODE: "another"}
    monkeypatch.setattr(keys, "code_digest", lambda *of: digests.get(of) or code_digest(*of))
    assert key("trace=3", of="method") == before


def test_another_version_of_torch_gives_another_key(experiment, monkeypatch):
    context = context_of(experiment(*SMALL))
    before = model_key(context)
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    assert model_key(context) == before | {"torch": "2.0.0"}
    assert model_key(context) != before


def test_the_configuration_decides_nothing(experiment):
    """No key comes from what is written down and sent."""
    setup = experiment(*SMALL, "attack=lira")
    with_config, without = (
        context_of(one) for one in (setup, replace(setup, config={"seed": "another"}))
    )
    attack = ShadowModels(shadows=6, gamma=1.0, a=0.3, jobs=1)
    assert model_key(with_config) == model_key(without)
    assert method_key(with_config) == method_key(without)
    assert evidence_key(with_config, attack) == evidence_key(without, attack)


def test_a_model_is_kept_under_its_key(experiment, tmp_path, monkeypatch):
    context = context_of(experiment(*SMALL, f"outputs={tmp_path}"))
    original_model(context)
    assert Store(tmp_path / "cache").holds("original", model_key(context))
    monkeypatch.setattr(trained, "from_scratch", None)
    assert original_model(context).cost.cached
