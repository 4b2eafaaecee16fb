"""python -m mlu.audit: what it says of models, and one line for whatever cannot be used."""

import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mlu.audit import audit, main
from mlu.auditing.policy import EXIT_CODES, Policy, clauses_of, standing_of
from mlu.certify import main as certify
from mlu.launch import dataset_command
from mlu.launch.compose import check_overrides
from mlu.runs.read import read_run
from mlu.runs.verdicts import verdict_of_runs
from tests.support.audited import (
    IMAGES,
    data_words,
    features_of,
    few_readers,
    outputs_of_labels,
    paths,
    write_archive,
    write_people,
    write_weights,
)
from tests.support.composing import composed_in_parts
from tests.support.killing import ended as finished
from tests.support.killing import launch, started
from tests.support.photo_folder import write_lines

MALE = "forget_label.names=[Male]"
MODELS = ("original", "retrain", "unlearned", "random")


class Evil:
    """What a pickle can have done."""

    def __reduce__(self):
        return (print, ("harm",))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, weights and features; wrong ones by what is wrong with them."""
    folder = write_people(tmp_path_factory.mktemp("audited"))
    for seed, name in enumerate(("before", "after", "retrain")):
        write_weights(folder / f"{name}.pt", seed)

    write_weights(folder / "four.pt", 3, labels=4)
    wrong = {name: torch.full_like(value, torch.nan)
             for name, value in torch.load(folder / "after.pt", weights_only=True).items()
             if value.is_floating_point()}  # fmt: skip
    torch.save(wrong, folder / "nan.pt")
    save_file({"layer.weight": torch.ones(2, 2)}, folder / "other.safetensors")
    torch.save(nn.Linear(2, 2), folder / "module.pt")
    torch.save({"weights": [1, 2]}, folder / "list.pt")
    (folder / "evil.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "text.pt").write_text("these are no weights")
    (folder / "empty.pt").write_bytes(b"")

    good, shorter = features_of(3.0), features_of(3.0)[:-1]
    hole = good.copy()
    hole[5, 0] = np.nan
    swapped = outputs_of_labels(4.0)[:, [1, 0, 2]]
    write_archive(folder / "good.npz")
    for name, changes in {
        "others": {"image": np.array([f"other/{one}" for one in paths()])},
        "twice": {"image": np.array(["000.png"] * IMAGES)},
        "numbered": {"image": np.arange(IMAGES)},
        "nameless": {"image": None},
        "hole": {"after": hole},
        "short": {"after": shorter},
        "flat": {"after": good[:, 0]},
        "texts": {"after": good.astype(str)},
        "pickled": {"after": good.astype(object)},
        "four": {"after_outputs": np.ones((IMAGES, 4))},
        "alone": {"after": None, "after_outputs": None},
        "outputless": {"before": None},
        "unknown": {"aftr": good},
        "unmarked": {"retrain": None, "retrain_outputs": None},
        "order": {"labels": np.array(["Beard", "Male", "Hat"])},
        "swapped": {"before_outputs": swapped},
    }.items():
        write_archive(folder / f"{name}.npz", **changes)

    np.save(folder / "one.npy", good)
    (folder / "text.npz").write_text("these are no features")
    ragged = pa.table({"image": paths(), "after": [[1.0] * (1 + row % 2) for row in range(IMAGES)]})
    pq.write_table(ragged, folder / "ragged.parquet")

    write_lines(folder / "unknown.yaml", "max_exces: 0.02")
    write_lines(folder / "large.yaml", "max_excess: 2")
    write_lines(folder / "nested.yaml", "max_excess: [0.02]")
    write_lines(folder / "list.yaml", "- max_excess")
    write_lines(folder / "broken.yaml", "max_excess: [")
    write_lines(folder / "taken" / "report.html", "mine")
    rows = (folder / "labels.csv").read_text().replace(",test,", ",train,")
    (folder / "untested.csv").write_text(rows)
    rows = (folder / "labels.csv").read_text().replace(".png", ".jpg")
    (folder / "imageless.csv").write_text(rows)

    return folder


AFTER = ["after=after.pt", "retrain=retrain.pt", "backbone=tiny", MALE]
"""Words with which all would be well."""


def features(name: str, *words: str) -> list[str]:
    return [f"features={name}", MALE, *words]


WRONG: dict[str, tuple[list[str], str]] = {
    # models
    "no model": ([MALE], "name the model to audit"),
    "no after": (["before=before.pt", MALE], "name the model to audit"),
    "no file after": (["after=gone.pt", MALE], "after=gone.pt does not exist"),
    "no file before": ([*AFTER, "before=gone.pt"], "before=gone.pt does not exist"),
    "no file retrain": (["after=after.pt", "retrain=gone.pt", MALE], "retrain=gone.pt does not"),
    "other architecture": (["after=other.safetensors", *AFTER[1:]], "is it another backbone?"),
    "other backbone": (["after=after.pt", "backbone=resnet18", MALE], "is it another backbone?"),
    "more outputs": (["after=four.pt", *AFTER[1:]], "were other labels learnt?"),
    "fewer labels": ([*AFTER, "dataset.labels=[Male,Beard]"], "were other labels learnt?"),
    "not finite": (["after=nan.pt", *AFTER[1:]], "are not finite"),
    "a pickled module": (["after=module.pt", *AFTER[1:]], "was not read"),
    "a pickle": (["after=evil.pt", *AFTER[1:]], "is neither safetensors nor a plain state dict"),
    "no state dict": (["after=list.pt", *AFTER[1:]], "holds no state dict of tensors"),
    "a text": (["after=text.pt", *AFTER[1:]], "it is text"),
    "an empty file": (["after=empty.pt", *AFTER[1:]], "it is empty"),
    "no backbone": ([*AFTER, "backbone=tniy"], "did you mean 'tiny'?"),
    "mean alone": ([*AFTER, "mean=[0.5,0.5,0.5]"], "mean and std go together"),
    "two colours": ([*AFTER, "mean=[0.5,0.5]", "std=[1,1]"], "three colour channels"),
    "no deviation": ([*AFTER, "mean=[0.5,0.5,0.5]", "std=[0,1,1]"], "std must be"),
    # features
    "no file of features": (features("gone.npz"), "features=gone.npz does not exist"),
    "features and weights": (features("good.npz", "after=after.pt"), "two ways of giving"),
    "features of other images": (features("others.npz"), "are they of other images?"),
    "an image twice": (features("twice.npz"), "has an image twice"),
    "numbers for names": (features("numbered.npz"), "image must be a list of names"),
    "features without names": (features("nameless.npz"), "has no 'image'"),
    "not finite features": (features("hole.npz"), "not finite"),
    "too few features": (features("short.npz"), "must have a row for each"),
    "flat features": (features("flat.npz"), "must have a row for each"),
    "features of text": (features("texts.npz"), "after must be numbers"),
    "pickled features": (features("pickled.npz"), "archive of plain arrays"),
    "four outputs": (features("four.npz"), "has 4 outputs, and there are 3 labels"),
    "no features after": (features("alone.npz"), "has no 'after'"),
    "outputs alone": (features("outputless.npz"), "before_outputs without before"),
    "unknown array": (features("unknown.npz"), "did you mean 'after'?"),
    "no mark": (features("unmarked.npz"), "neither 'retrain' nor 'baseline'"),
    "another order": (features("order.npz"), "in this order"),
    "swapped outputs": (features("swapped.npz"), "give dataset.labels in the order"),
    "one array": (features("one.npy"), "holds one array without names"),
    "no archive": (features("text.npz"), "is neither Parquet nor an archive"),
    "ragged rows": (features("ragged.parquet"), "not equally long"),
    "features of drawn faces": (
        ["features=good.npz", "dataset=faces"],
        "go by the names of images",
    ),
    "features and exclude": (
        features("good.npz", "dataset.exclude=unknown.yaml"),
        "leave the rows",
    ),
    # what is asked
    "nothing asked": (["after=after.pt"], "name what was to be forgotten"),
    "no such label": (["after=after.pt", "forget_label.names=[Mael]"], "did you mean 'Male'?"),
    "all labels": (["after=after.pt", "forget_label.names=[Male,Beard,Hat]"], "at least one"),
    "label and concept": ([*AFTER[:1], MALE, "concept=[Tall]"], "audit them one after the other"),
    "concept and retrain": (
        ["after=after.pt", "retrain=retrain.pt", "concept=[Tall]"],
        "no Retrain",
    ),
    "an unknown concept": (
        ["after=after.pt", "backbone=tiny", "concept=[Tal]"],
        "did you mean 'Tall'?",
    ),
    "a concept that is an output": (["after=after.pt", "concept=[Beard]"], "so it is an output"),
    "a concept of words": (["after=after.pt", "concept=[odd]"], "is neither 1"),
    "a concept twice": (["after=after.pt", "concept=[age]", "numbers=[age]"], "one column twice"),
    "numbers of words": (["after=after.pt", "numbers=[odd]"], "is no number"),
    "no such numbers": (["after=after.pt", "numbers=[agge]"], "did you mean 'age'?"),
    "a concept of drawn faces": (
        ["after=after.pt", "concept=[x]", "dataset=faces"],
        "use dataset=csv",
    ),
    # attacks
    "shadow models": ([*AFTER, "attack=[aia,lira]"], "trains shadow models"),
    "no attack": ([*AFTER, "attack=none"], "an audit attacks"),
    "without aia": ([*AFTER, "attack=mia"], "name it as well"),
    "relearn without before": ([*AFTER, "attack=[aia,relearn]"], "needs the model before"),
    "relearn features": (features("good.npz", "attack=[aia,relearn]"), "tunes the model"),
    "tune features": (features("good.npz", "aia.panel=full"), "there is no key"),
    "full panel of features": (features("good.npz", "attack.aia.panel=full"), "tunes the model"),
    "mia of a concept": (["after=after.pt", "concept=[Tall]", "attack=[aia,mia]"], "has none"),
    "insider of all": (
        [*AFTER, "dataset.split_column=null", "unseen=all", "attack.aia.insider=true"],
        "images that the model has learnt from",
    ),
    # policies
    "no policy": ([*AFTER, "policy=gone.yaml"], "policy=gone.yaml is no file"),
    "unknown key of a policy": ([*AFTER, "policy=unknown.yaml"], "did you mean 'max_excess'?"),
    "a policy beyond": ([*AFTER, "policy=large.yaml"], "policy.max_excess must be"),
    "a nested policy": ([*AFTER, "policy=nested.yaml"], "max_excess must be a number"),
    "a list for a policy": ([*AFTER, "policy=list.yaml"], "must have a line for each key"),
    "no YAML": ([*AFTER, "policy=broken.yaml"], "cannot be read as YAML"),
    "two policies": ([*AFTER, "policy=large.yaml", "policy=list.yaml"], "name one file"),
    "a word for a bound": ([*AFTER, "policy.max_excess=little"], "policy.max_excess must be"),
    "no seeds": ([*AFTER, "policy.seeds=0"], "policy.seeds must be"),
    "no such bound": ([*AFTER, "policy.max_exces=0.1"], "did you mean 'policy.max_excess'?"),
    # the table
    "no table": ([*AFTER, "dataset.table=gone.csv"], "there is no label table"),
    "no images": ([*AFTER, "dataset.table=imageless.csv"], "none of the 240 images is in"),
    "no people": ([*AFTER, "dataset.identity_column=whom"], "did you mean 'who'?"),
    "nobody to judge by": ([*AFTER, "dataset.table=untested.csv"], "set unseen=all"),
    "other labels": ([*AFTER, "dataset.labels=[Male,Bread,Hat]"], "did you mean 'Beard'?"),
    "unseen and a split": ([*AFTER, "unseen=all"], "contradict each other"),
    "unseen somehow": ([*AFTER, "unseen=some"], "unseen must be 'split' or 'all'"),
    # words
    "a method": ([*AFTER, "method=wf"], "an audit trains nothing"),
    "an original": ([*AFTER, "original.weights=before.pt"], "before=... is the model before"),
    "an unknown key": ([*AFTER, "befor=before.pt"], "did you mean 'before'?"),
    "a folder of mine": ([*AFTER, "out=taken"], "files that mlu has not written"),
}


def composed_quickly(words, folders, base):
    """In the place of `composed`: files are read once for the same choice of them."""
    check_overrides(words)
    return composed_in_parts(words, base)


def ended(words, monkeypatch, capsys):
    """Exit code of the command, and the lines that it says on stderr."""
    monkeypatch.setattr(dataset_command, "composed", composed_quickly)
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(case, place, monkeypatch, capsys):
    words, says = WRONG[case]
    monkeypatch.chdir(place)
    given = [] if "dataset=faces" in words else data_words(place)
    code, lines = ended([*given, *words, "outputs=outputs"], monkeypatch, capsys)
    assert code == 2
    assert len([line for line in lines if line]) == 1, lines
    assert says in lines[0], lines


AUDIT_FILES = ("audit.json", "results.json", "config.yaml", "labels.json")


@pytest.fixture(scope="module")
def audited_features(place, tmp_path_factory):
    """The folder of the audit of features that tell Male well; Retrain's hardly do."""
    out = tmp_path_factory.mktemp("out") / "audit"
    words = [*data_words(place), f"features={place / 'good.npz'}", MALE, f"out={out}"]
    with few_readers():
        done = audit(*words, "policy.min_retained=0.8")
    assert (done.word, done.code, done.folder) == ("broken", 1, out)
    return out


def test_the_command_ends_with_the_code_of_the_verdict(place, tmp_path, monkeypatch, capsys):
    words = [*data_words(place), f"features={place / 'good.npz'}", MALE, f"out={tmp_path / 'x'}"]
    with few_readers():
        code, _ = ended(words, monkeypatch, capsys)
    assert code == json.loads((tmp_path / "x" / "audit.json").read_text())["exit_code"] == 1


def test_the_bound_decides_between_the_three_words(audited_features):
    run = read_run(audited_features)
    judged = verdict_of_runs([run])
    assert judged.low > 0.05
    for bound, code in ((judged.low - 0.01, 1), (judged.mean, 3), (judged.high + 0.01, 0)):
        held = replace(run, config={**run.config, "policy": {"max_excess": bound}})
        word = standing_of(clauses_of(Policy(max_excess=bound), [held]))
        assert EXIT_CODES[word] == code


def test_an_output_that_is_reset_leaves_the_features_and_the_policy_is_broken(audited_features):
    out = audited_features
    facts = json.loads((out / "audit.json").read_text())
    assert (facts["verdict"], facts["exit_code"], facts["mark"]) == ("broken", 1, "Retrain")
    assert {clause["key"]: clause["word"] for clause in facts["clauses"]} == {
        "max_excess": "broken",
        "min_retained": "kept",
    }
    assert facts["learnt_from"] == {"images": IMAGES // 2, "people": IMAGES // 2}
    assert facts["judged_on"] == {"images": IMAGES // 4, "people": IMAGES // 4}
    assert (out / "report.html").is_file()
    assert "Male" in (out / "report.html").read_text()


def test_an_audit_has_a_certificate_that_holds_until_a_byte_changes(
    audited_features, tmp_path, capsys
):
    out = audited_features
    stated = json.loads((out / "certificate.json").read_text())
    assert set(stated["files"]) == set(AUDIT_FILES)
    assert stated["verdict"]["word"] == "broken"
    page = (out / "certificate.html").read_text()
    assert stated["verdict"]["said"].split(";")[0] in page
    assert "good.npz" in page
    assert str(out) not in page

    def verified(folder):
        with pytest.raises(SystemExit) as end:
            certify([str(folder), "--verify", str(out / "certificate.json")])
        return end.value.code, capsys.readouterr()

    assert verified(out)[0] == 0
    for name in AUDIT_FILES:
        (tmp_path / name).write_bytes((out / name).read_bytes())
    facts = (tmp_path / "audit.json").read_text().replace('"broken"', '"kept"')
    (tmp_path / "audit.json").write_text(facts)
    code, said = verified(tmp_path)
    assert code == 1
    assert "audit.json is another file" in said.err


def test_an_audit_of_a_runs_models_says_what_the_run_says(place, tmp_path):
    """The same figures to the last bit, by the road of every run and by that of files."""
    data = [word for word in data_words(place) if not word.startswith("outputs=")]
    asked = [*data, "dataset.split=official", MALE, "attack.aia.hidden=2"]
    work = ["training.epochs=1", "method.tuning.steps=2", "method.images=64", "logger=none"]
    where = f"hydra.run.dir={tmp_path / 'run'}"
    assert finished(started(launch, tmp_path, [*asked, *work, where])) == 0

    def kept(stage):
        (file,) = tmp_path.glob(f"cache/{stage}/*/weights.safetensors")
        return file

    audit(
        *asked,
        f"before={kept('original')}",
        f"retrain={kept('retrain')}",
        f"after={tmp_path / 'run' / 'unlearned.safetensors'}",
        f"out={tmp_path / 'audit'}",
        f"outputs={tmp_path / 'outputs'}",
    )

    ours, theirs = (read_run(tmp_path / one).figures for one in ("run", "audit"))
    both = [path for path in theirs if path in ours and path.partition("/")[0] in MODELS]
    assert len([path for path in both if "attack/aia" in path]) > 1000
    assert {path: theirs[path] for path in both} == {path: ours[path] for path in both}
    assert theirs["original/test/retained/accuracy"] != theirs["unlearned/test/retained/accuracy"]
