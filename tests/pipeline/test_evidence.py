import copy
import io
import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from mlu.attacks.contract import Attack, Shadows, ShadowsWanted
from mlu.methods.retrain import Retrain
from mlu.metrics.findings import Finding, Recovery, Trial
from mlu.models.backbones import Tiny
from mlu.pipeline import evidence as exposure
from mlu.pipeline import keys
from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from mlu.pipeline.entries import Model
from mlu.pipeline.evidence import (
    PROXY,
    ROC_PATHS,
    arrays_of,
    digest_of,
    evidence_of,
    exposure_of,
    findings_of,
    roc_curves,
)
from mlu.pipeline.models import Models
from mlu.pipeline.outputs import outputs_by_split
from mlu.runs.layout import LEFT
from mlu.runs.treatments import treatments_in

NAMES = ("original", "retrain", "unlearned", "random", "start")


def trial(seed=0, images=9):
    random = np.random.default_rng(seed)
    return Trial(
        random.normal(size=images), np.arange(images) % 3 > 0, random.integers(0, 5, images)
    )


def recovery(draws=2):
    return Recovery(
        np.array([0, 1, 4]),
        np.array([[0.5, 0.7, math.nan], [0.5, 0.6, 0.9]])[:draws],
        np.array(0.65),
    )


def assert_same(first, second):
    """Bit by bit, dtypes and order of paths included."""
    assert list(first) == list(second)
    for one, other in zip(first.values(), second.values(), strict=True):
        assert type(one) is type(other)
        if isinstance(one, str):
            assert one == other
            continue

        for part in fields(one):
            pair = np.asarray(getattr(one, part.name)), np.asarray(getattr(other, part.name))
            np.testing.assert_array_equal(*pair)
            assert pair[0].dtype == pair[1].dtype
            assert pair[0].shape == pair[1].shape


FOUND = {
    "trial": trial(),
    "empty": trial(images=0),
    "recovery": recovery(),
    "one draw": recovery(1),
}


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]+(/[a-z0-9 .:]+){0,3}", fullmatch=True),
        st.sampled_from([*FOUND, "why"]),
    )
)
def test_evidence_survives_being_written_and_read(kinds):
    evidence = {path: FOUND.get(kind, "no images") for path, kind in kinds.items()}
    file = io.BytesIO()
    np.savez(file, **arrays_of(evidence))
    file.seek(0)
    there = {path: found for path, found in evidence.items() if not isinstance(found, str)}
    with np.load(file) as arrays:
        assert_same(there, evidence_of(arrays))


@dataclass(frozen=True, kw_only=True)
class Spy(Attack[Trial]):
    """Finds something of every kind, the missing between the others.

    It remembers to whom it was sent, and needs shadow models where it has `jobs` for them.
    """

    name: ClassVar[str] = "spy"
    strength: float = 1
    more: tuple = ()
    jobs: int = field(default=0, compare=False)
    sent: list = field(default_factory=list, compare=False)

    def needs(self):
        return ShadowsWanted(6, self.jobs) if self.jobs else None

    def observe(self, victim):
        self.sent.append(victim)
        score = victim.outputs["test"].logits.double().mean().item()
        return {
            "spy/z": replace(trial(), scores=trial().scores + score),
            "spy/m": "no images",
            "spy/a": recovery(),
        }

    def without_model(self, victim):
        return {"spy/floor": trial(2)}

    def conclude(self, evidence):
        return [
            Finding(f"{path}/size", len(vars(found)))
            for path, found in evidence.items()
            if path != "spy/m"
        ]

    def compare(self, evidence, reference):
        difference = (
            None
            if reference is None
            else evidence["spy/z"].scores[0] - reference["spy/z"].scores[0]
        )
        return [Finding("spy/excess", difference, missing=None if reference else "none")]


@pytest.fixture
def spied(experiment, tmp_path):
    """Sends the spy to random networks: who was attacked anew, and what was found.

    `config` is the spy's. `changed` names models that have another weight than in other calls.
    """

    def one(*overrides, changed=(), absent=(), config=None):
        small = ("dataset.images=60", "dataset.image_size=16", f"outputs={tmp_path}")
        context = context_of(experiment(*small, *overrides))

        models = {}
        for number, name in enumerate(NAMES):
            torch.manual_seed(number)
            net = Tiny(name="tiny", widths=(4,)).build(len(context.data.labels)).eval()
            with torch.no_grad():
                net.head.bias[0] += name in changed
            model = Model(net, outputs_by_split(context, net, ""), None)
            models[name] = None if name in absent else model

        spy = Spy(**(config or {}))
        one.context, one.models, one.spy = context, Models(**models), spy
        found = exposure_of(context, spy, one.models)
        known = {id(model.net): name for name, model in models.items() if model}

        return [known[id(victim.net)] for victim in spy.sent], found

    return one


@pytest.fixture
def made(monkeypatch):
    """Shadow models that are asked for: the arguments of each call, which also stand for them."""
    asked = []

    def shadows_of(*arguments):
        asked.append(arguments)
        return arguments

    monkeypatch.setattr(exposure, "shadows_of", shadows_of)
    return asked


def test_every_model_is_attacked_once_and_a_second_call_gathers_nothing(spied, made):
    sent, first = spied(config={"jobs": 2})
    assert len(made) == 3
    again, second = spied(config={"jobs": 2})
    assert sent == [*NAMES]
    assert again == []
    assert len(made) == 3, "evidence in the cache needs no shadow models"

    assert list(first) == list(second) == [*NAMES, PROXY]
    for name, evidence in first.items():
        assert list(evidence) == (["spy/floor"] if name == PROXY else ["spy/z", "spy/m", "spy/a"])
        assert_same(evidence, second[name])

    assert len({found["spy/z"].scores[0] for name, found in first.items() if name != PROXY}) == 5
    for name, model in spied.models.by_name().items():
        score = model.outputs["test"].logits.double().mean().item()
        np.testing.assert_array_equal(first[name]["spy/z"].scores, trial().scores + score)


def test_shadow_models_are_made_before_the_evidence_is_locked(spied, monkeypatch):
    free = []

    def shadows_of(context, *arguments):
        free.append(not [*context.store.root.glob("attack-spy/*.draft")])
        return Shadows(np.zeros((0, 0), bool), {})

    monkeypatch.setattr(exposure, "shadows_of", shadows_of)
    spied(config={"jobs": 1})
    assert free == [True, True, True]


def test_an_attack_that_needs_none_is_given_no_shadow_models(spied, made):
    spied()
    assert not made
    assert {(victim.shadows, victim.matched) for victim in spied.spy.sent} == {(None, None)}


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"changed": ["original"]}, [*NAMES]),
        ({"changed": ["retrain"]}, [*NAMES]),
        ({"absent": ["retrain"]}, ["original", "unlearned", "random", "start"]),
        ({"absent": ["start"]}, []),
        ({"changed": ["start"]}, ["start"]),
        ({"changed": ["unlearned"]}, ["unlearned"]),
        ({"changed": ["random"]}, ["random"]),
        ({"config": {"strength": 2}}, [*NAMES]),
        ({"config": {"more": (None,)}}, [*NAMES]),
        ({"config": {"strength": 1.0}}, []),
        ({"config": {"jobs": 4}}, []),
    ],
    ids=str,
)
def test_other_weights_or_settings_are_attacked_anew(spied, change, anew):
    spied()
    assert spied(**change)[0] == anew
    assert spied(**change)[0] == []


@pytest.mark.parametrize(
    ("override", "anew"),
    [
        ("seed=1", [*NAMES]),
        ("split_seed=1", [*NAMES]),
        # Other weights would tell, and these are the same.
        ("train_seed=1", []),
        ("method_seed=1", []),
        ("dataset.seed=1", [*NAMES]),
        ("training.epochs=2", [*NAMES]),
        ("canaries.withheld=0.5", [*NAMES]),
        ("forget_label.names=[Bald]", [*NAMES]),
        # Shadow models go through the method.
        ("method.tuning.steps=1", ["unlearned"]),
        ("logger=wandb", []),
        ("trainer.workers=1", []),
    ],
)
def test_other_runs_are_attacked_anew_where_it_matters(spied, override, anew):
    spied()
    assert spied(override)[0] == anew


def test_damaged_evidence_is_gathered_again(spied, tmp_path):
    _, first = spied()
    files = sorted(tmp_path.glob(f"cache/attack-spy/*/{exposure.EVIDENCE_FILE}"))

    assert len(files) == len(NAMES)
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    sent, second = spied()
    assert len(sent) == 1
    assert spied()[0] == []
    for name, evidence in first.items():
        assert_same(evidence, second[name])


@pytest.mark.parametrize(
    ("code", "anew"), [("EVIDENCE_CODE", [*NAMES]), ("METHOD_CODE", ["unlearned"])]
)
def test_new_code_gathers_anew_what_it_decides(spied, monkeypatch, code, anew):
    spied()
    digest, changed = keys.code_digest, getattr(keys, code)

    def another(*modules):
        return digest(*modules) + "x" * (modules == changed)

    monkeypatch.setattr(keys, "code_digest", another)
    assert spied()[0] == anew


def test_a_victim_is_its_model_among_the_others(spied, made):
    spied("canaries.withheld=0.5", "method=head", config={"jobs": 2})
    context, models = spied.context, spied.models
    treatments = {"retrain": Retrain(name="retrain"), "unlearned": context.experiment.method}

    for name, victim in zip(NAMES, spied.spy.sent, strict=True):
        model = models.by_name()[name]
        assert victim.net is model.net
        assert victim.outputs is model.outputs
        assert victim.original is models.original.outputs
        assert victim.retrain is models.retrain.outputs
        assert victim.splits is context.data.splits
        assert victim.canaries is context.canaries
        assert (victim.request, victim.task) == (context.request, context.task)
        assert victim.labels == context.data.labels
        assert victim.original_net is models.original.net
        assert victim.seed == context.experiment.seeds.seed
        assert victim.shadows == (context, None, 6, 2)
        assert victim.matched == (context, treatments.get(name), 6, 2)

    assert len(made) == 3, "those of the original serve all, and what was not trained"


def test_findings_are_those_of_each_model_and_none_of_the_proxy_is_compared(spied):
    _, found = spied()
    findings = findings_of(spied.spy, found)
    assert list(findings) == [*NAMES, PROXY]
    own = [("attack/spy/z/size", 4), ("attack/spy/a/size", 3)]
    for name in NAMES:
        excess = found[name]["spy/z"].scores[0] - found["retrain"]["spy/z"].scores[0]
        assert [(one.path, one.value) for one in findings[name]] == [
            *own,
            ("attack/spy/excess", excess),
        ]

    assert [(one.path, one.value) for one in findings[PROXY]] == [("attack/spy/floor/size", 4)]
    _, alone = spied(absent=["retrain"])
    for name in ("original", "unlearned", "random", "start"):
        assert findings_of(spied.spy, alone)[name][-1] == Finding(
            "attack/spy/excess", None, missing="none"
        )


def test_exposures_of_several_attacks_are_one():
    first = {"original": {"a": trial(1), "b": "why"}, "unlearned": {"a": trial(2)}}
    second = {"original": {"c": recovery()}, PROXY: {"c": "none"}}
    together = exposure.united_evidence([first, second])
    assert_same(together["original"], first["original"] | second["original"])
    assert_same(together["unlearned"], first["unlearned"])
    assert_same(together[PROXY], second[PROXY])
    assert list(first["original"]) == ["a", "b"]


def test_curves_are_drawn_of_membership_attacks_that_there_are():
    trials = {path: trial(seed, images=60) for seed, path in enumerate(ROC_PATHS)}
    evidence = {**trials, "mia/loss": trial(), "relearn/8": recovery(), "rmia": "no images"}
    curves = roc_curves({"original": evidence, "unlearned": {"lira": "no images"}, PROXY: {}})
    paths = [path for path in ROC_PATHS if path != "rmia"]

    assert list(curves) == [
        f"original/{path}/{rate}" for path in paths for rate in ("false", "true")
    ]
    for path in paths:
        false, true = curves[f"original/{path}/false"], curves[f"original/{path}/true"]
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        area = roc_auc_score(trials[path].truth, trials[path].scores)
        assert np.trapezoid(true, false) == pytest.approx(area, abs=1e-12)


def test_a_digest_is_that_of_every_weight_and_statistic():
    torch.manual_seed(0)
    net = Tiny(name="tiny", widths=(2, 2)).build(2)
    digest, seen = digest_of(net), set()
    assert digest_of(copy.deepcopy(net).to(memory_format=torch.contiguous_format)) == digest
    for name, value in net.state_dict().items():
        for place in {0, value.numel() - 1}:
            other = copy.deepcopy(net)
            changed = other.state_dict()[name]
            changed[np.unravel_index(place, changed.shape)] += 1
            seen.add(digest_of(other))

    assert digest not in seen
    assert len(seen) == sum(1 + (value.numel() > 1) for value in net.state_dict().values())


NOT_LEFT = {
    *("failure.json", "certificate.json", "certificate.html", "durability.png", "trace.png"),
    "forget_set.npz",
}


def test_every_attack_at_once_leaves_figures_and_pictures(experiment, tmp_path, pictures_drawn):
    overrides = [
        "attack=all",
        "attack.lira.shadows=6",
        "attack.lira.jobs=1",
        "training.epochs=4",
        "attack.relearn.cap=6",
        "attack.relearn.samples=[4,16]",
    ]
    overrides += ["attack.aia.hidden=4", "method=wp", "method.tuning.steps=3"]
    # From weights, so that their start is attacked as well.
    (tmp_path / "theirs").mkdir()
    torch.save(Tiny(name="tiny").build(3).state_dict(), tmp_path / "theirs" / "tiny.pt")
    overrides.append(f"backbone.weights={tmp_path / 'theirs' / 'tiny.pt'}")
    results = pipeline.run(experiment(*overrides)).to_json()
    assert json.loads((tmp_path / "results.json").read_text()) == results
    metrics, missing = results["metrics"], results["missing"]
    for path, value in metrics.items():
        assert (path in missing) == (value is None), path
        assert missing[path] if value is None else math.isfinite(value), path

    paths = {
        name: {
            path.removeprefix(f"{name}/") for path in metrics if path.startswith(f"{name}/attack/")
        }
        for name in NAMES
    }
    for name in NAMES:
        # Which figures are chance by construction differs.
        lone = paths[name] ^ paths["original"]
        assert all(path.endswith("/constant") for path in lone), name
    assert not [path for path in metrics if path.startswith(("random/test", "start/test"))]
    given = {path.split("/")[1] for path in paths["original"]}
    assert given == {"aia", "mia", "label_membership", "lira", "ulira", "rmia", "relearn"}
    assert metrics["original/attack/relearn/16/steps"] == 0
    assert results["seconds"]["attack"] > 0
    # What is known of a run's files is what another there replaces.
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == set(LEFT) - NOT_LEFT
    curves = np.load(tmp_path / "roc.npz")
    assert set(curves) == {
        f"{name}/{path}/{rate}"
        for name in NAMES
        for path in ROC_PATHS
        for rate in ("false", "true")
    }
    for picture in ("roc", "stages", "relearn", "distributions"):
        with Image.open(tmp_path / f"{picture}.png") as image:
            assert image.width > 500
            assert (
                np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).shape[0] > 50
            ), "it is blank"


def test_treatments_after_release_leave_figures_and_a_picture(experiment, tmp_path, pictures_drawn):
    overrides = ["attack=durability", "attack.durability.steps=[1,3]", "method=leace"]
    metrics = pipeline.run(experiment(*overrides)).metrics
    treatments = ("untreated", "finetune_1", "finetune_3", "int8", "int4", "pruned")
    start = "attack/durability"
    wanted = {
        f"{name}/{start}/{treatment}{place}/{metric}{end}"
        for name in NAMES[:-1]
        for treatment in treatments
        for place in ("", "/outputs", "/features")
        for metric in ("balanced_accuracy", "excess")
        for end in ("", "/low", "/high")
    }
    assert {path for path in metrics if start in path} == wanted
    assert {metrics[f"retrain/{start}/{treatment}/excess"] for treatment in treatments} == {0}
    with Image.open(tmp_path / "durability.png") as image:
        assert image.width > 900, "mixtures with the original are drawn as well"

    figures = dict.fromkeys(metrics)
    found = treatments_in(figures)
    assert (list(found.tuned), list(found.others)) == ([0, 1, 3], ["int8", "int4", "pruned"])
