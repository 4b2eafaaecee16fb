"""Folders of runs as `mlu` leaves them, with made-up numbers."""

import json
from pathlib import Path

import numpy as np
import yaml

from mlu.runs.read import Run
from mlu.runs.results import Results

LABELS = ("Bald", "Brown_Hair", "Male", "Young")
READINGS = ("output", "outputs", "features", "features/mlp")
LENIENT = {"max_loss": 0.3}
"""A policy that lets made-up methods differ widely in what they keep."""
STRONGEST = ("strongest", *(f"strongest/{place}" for place in ("outputs", "features", "stages")))
SINGLE_LABEL = ("cifar10", "digits", "mnist", "mufac", "svhn")


def interval(path, value, half=0.02):
    return {path: value, f"{path}/low": value - half, f"{path}/high": value + half}


def metrics_of(retained=0.9, forgotten=0.5, excess=-0.01, half=0.02, labels=LABELS, forget="Male"):
    """What a run measures of the original, Retrain, the unlearned model and random weights."""
    found = {}
    sides = {
        "original": (0.95, 0.98, 0.06),
        "retrain": (0.94, 0.5, 0.0),
        "unlearned": (retained, forgotten, excess),
    }
    for model, (kept, output, above) in sides.items():
        for split in ("train", "validation", "test"):
            found |= interval(f"{model}/{split}/retained/accuracy", kept, half)
            found |= {f"{model}/{split}/entropy/mean": 1.0, f"{model}/{split}/entropy/ks": 0.1}
            found[f"{model}/{split}/entropy/jensen_shannon"] = 0.01
        found |= interval(f"{model}/test/forgotten/balanced_accuracy", output)
        found |= interval(f"{model}/test/forgotten/accuracy", 0.6)
        for label in labels:
            value = output if label == forget else kept
            found |= interval(f"{model}/test/label/{label}/accuracy", value)
            found |= interval(f"{model}/test/label/{label}/balanced_accuracy", value)
        found |= reading(model, above, half, forget)
    found |= reading("random", -0.1, half, forget)
    return found | interval("proxy/attack/aia/folded_balanced_accuracy", 0.8)


def reading(model, above, half, forget):
    """What readers find in a model of the only label that was forgotten."""
    found = {}
    for start in (f"{model}/attack/aia", f"{model}/attack/aia/label/{forget}"):
        for path in READINGS:
            found |= interval(f"{start}/{path}/folded_balanced_accuracy", 0.9 + above)
            found |= interval(f"{start}/{path}/excess", above, half)
        for path in STRONGEST:
            found |= interval(f"{start}/{path}/balanced_accuracy", 0.9 + above)
            found |= interval(f"{start}/{path}/excess", above, half)
        found |= interval(f"{start}/same_reader/excess", above, half)

    return found


def config_of(
    method="wf",
    seed=1,
    dataset="faces",
    forget="Male",
    attacks=("aia",),
    correlation=1.0,
    **strengths,
):
    """The resolved configuration of a run."""
    return {
        "seed": seed,
        "epsilon": strengths.get("epsilon"),
        "experiment": None,
        "outputs": "/somewhere/else",
        "dataset": {
            "name": dataset,
            "root": "/data",
            "images": 2000,
            "image_size": 64,
            "correlation": correlation,
        },
        "backbone": {"name": "tiny", "weights": None},
        "method": {"name": method, **strengths},
        "forget_label": {"names": forget},
        "attack": {name: {"strength": 1.0} for name in attacks},
        "trainer": {"workers": seed},
        "training": {"epochs": 8},
        "logger": {"name": "none"},
        "policy": LENIENT,
    }


def results_of(
    metrics=None, missing=None, seconds=4.0, run=None, config=None, device="a CPU", **kind
):
    """The content of `results.json` of a run; arguments as in `leave`."""
    found = config_of(**kind) | (config or {})
    facts = {
        "dataset": found["dataset"]["name"], "backbone": "tiny",
        "task": "singlelabel" if found["dataset"]["name"] in SINGLE_LABEL else "multilabel",
        "method": found["method"]["name"],
        "forget_label": [found["forget_label"]["names"]], "seed": found["seed"], "commit": "c0ffee",
        "device": device, "date": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return {
        "schema": 2,
        "run": facts | (run or {}),
        "seconds": {
            "original": 40.0,
            "retrain": 42.0,
            "unlearn": seconds,
            "score": 1.0,
            "edit": 0.1,
            "finetune": 2.0,
            "attack": 0.0,
        },
        "speedup": 42.0 / seconds,
        "work": {
            stage: {"forward": 100, "backward": 50} for stage in ("original", "retrain", "unlearn")
        },
        "work_ratio": 1.0,
        "measured": {stage: {"device": device} for stage in ("original", "retrain", "unlearned")},
        "metrics": metrics_of() if metrics is None else metrics,
        "missing": missing or {},
    }


def made_run(metrics, config=None, **changes):
    """A run that stands nowhere on disk; `changes` are whole keys of its results."""
    content = results_of(metrics) | changes
    return Run(Path(), Results.from_json(content), config or config_of())


def leave(folder, *args, config=None, **kind):
    """Write a run; `kind` as in `config_of`, `run` and `config` change single keys. Returns its
    folder."""
    own = {
        key: value
        for key, value in kind.items()
        if key not in ("metrics", "missing", "seconds", "run", "device")
    }
    found = config_of(**own) | (config or {})
    written(folder / "config.yaml", yaml.safe_dump(found))
    composed(folder, found)
    results = json.dumps(results_of(*args, config=config, **kind))
    return written(folder / "results.json", results).parent


def fail(folder, error="UserError: no", command="python launch.py seed=2", **kind):
    """Write a job that failed."""
    composed(folder, config_of(**kind))
    return written(folder / "failure.json", json.dumps({"error": error, "command": command})).parent


def composed(folder, config):
    written(folder / ".hydra" / "config.yaml", yaml.safe_dump(config))
    written(folder / ".hydra" / "overrides.yaml", yaml.safe_dump([f"seed={config['seed']}"]))


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def draw(folder, labels=LABELS):
    """The arrays and facts that pictures are made of."""
    arrays, curves = {}, {}
    for model in ("original", "retrain", "unlearned"):
        for split in ("train", "test"):
            arrays[f"{model}/{split}/entropy/histogram/counts"] = np.array([1, 4, 2])
            arrays[f"{model}/{split}/entropy/histogram/edges"] = np.array([-2.0, -1.0, 0.0, 1.0])
        curves[f"{model}/mia/combined/false"] = np.array([0, 0.01, 0.5, 1])
        curves[f"{model}/mia/combined/true"] = np.array([0, 0.03, 0.6, 1])
    np.savez(folder / "distributions.npz", **arrays)
    np.savez(folder / "roc.npz", **curves)
    correlation = np.eye(len(labels)).tolist()
    correlation[0][1] = correlation[1][0] = None
    facts = {"labels": list(labels), "correlation": correlation}
    (folder / "labels.json").write_text(json.dumps(facts))
