"""`~` in commands and in configurations."""

import json
import os
from pathlib import Path

import pytest
import yaml

from mlu import certify, doctor, predict
from mlu.data.sets.faces import preview
from mlu.launch.compose import composed, values_of
from mlu.launch.dataset_command import dataset_command
from mlu.launch.home import words_at_home
from mlu.launch.options import CONF
from mlu.report import __main__ as report
from mlu.system.errors import UserError
from tests.support.command_line import ROOT
from tests.support.forked import carry_out
from tests.support.killing import ended, started

HOME = "/home/ann"


@pytest.fixture
def ann(monkeypatch):
    monkeypatch.setenv("HOME", HOME)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["outputs=~/out"], ["outputs='/home/ann/out'"]),
        (["+notes=~/out"], ["+notes='/home/ann/out'"]),
        (["-m", "dataset.root=~/a b,~/c"], ["-m", "dataset.root='/home/ann/a b','/home/ann/c'"]),
        (["dataset.exclude=[~/a.txt,b.txt]"], ["dataset.exclude=['/home/ann/a.txt',b.txt]"]),
        (["dataset.root=~root/x"], ["dataset.root='/root/x'"]),
        (["hydra.run.dir=~/${now:%H}/x"], ["hydra.run.dir='/home/ann/${now:%H}/x'"]),
        (["hydra.run.dir='~/x'"], ["hydra.run.dir='/home/ann/x'"]),
        (['hydra.sweep.dir="~"'], ["hydra.sweep.dir='/home/ann'"]),
        (["hydra.searchpath=['file://~/x']"], ["hydra.searchpath=['file:///home/ann/x']"]),
        (["hydra.searchpath=[file://~/x]"], ["hydra.searchpath=[file:///home/ann/x]"]),
        (["--config-dir", "~/mine", "seed=1"], ["--config-dir", "/home/ann/mine", "seed=1"]),
        (["--config-dir=~/mine"], ["--config-dir=/home/ann/mine"]),
        (["-cd", "~/mine"], ["-cd", "/home/ann/mine"]),
        # Of a key that is a path, quotes are read where the path is used.
        (["outputs='~/out'"], ["outputs='~/out'"]),
        (["dataset.separator='~'"], ["dataset.separator='~'"]),
        (["dataset.separator='~/'"], ["dataset.separator='~/'"]),
        (["~phi"], ["~phi"]),
        (["~method=wf"], ["~method=wf"]),
        (["dataset.root=a/~/b"], ["dataset.root=a/~/b"]),
        # As an agent of W&B writes them.
        (["phi=None"], ["phi=null"]),
        (["-m", "phi=None,0.1"], ["-m", "phi=null,0.1"]),
        (["requests=[None, 1]"], ["requests=[null, 1]"]),
        (
            ["method.tuning={'lr': 0.1, 'steps': None}"],
            ["method.tuning={'lr': 0.1, 'steps': null}"],
        ),
        (["phi='None'"], ["phi='None'"]),
        (["forget_label.names=[NoneSuch,Not-None,None.x]"],) * 2,
        (["outputs=a/None"], ["outputs=a/None"]),
        (["None=1"], ["None=1"]),
        (["canaries.flipped=True"], ["canaries.flipped=True"]),
    ],
)
def test_the_words_of_a_command_mean_what_a_shell_or_an_agent_means(words, meant, ann):
    assert words_at_home(words) == meant
    assert words_at_home(meant) == meant


OF_DATA = {
    "csv": ("root", "table", "prepared", "exclude"),
    "vggface2": ("root", "attributes", "prepared", "exclude"),
    "celeba": ("root", "prepared", "exclude"),
    "cifar10": ("root",),
    "faces": ("root",),
}
KEYS = [
    *((f"dataset={name}", f"dataset.{key}") for name, keys in OF_DATA.items() for key in keys),
    ("method=wp", "outputs"),
    ("method=wp", "original.weights"),
    ("backbone=tiny", "backbone.weights"),
    ("backbone=timm", "backbone.weights"),
    ("backbone=resnet18", "backbone.weights"),
]


@pytest.mark.parametrize("where", ["on the command line", "in yaml"])
@pytest.mark.parametrize(("chosen", "key"), KEYS)
def test_a_path_of_a_configuration_begins_at_home(chosen, key, where, ann, tmp_path):
    folders, overrides = (CONF,), [chosen, f"{key}='~/x/y'"]
    if where == "in yaml":
        folders, overrides = (tmp_path, CONF), [chosen, "+experiment=mine"]
        group, _, name = key.rpartition(".")
        content = {group: {name: "~/x/y"}} if group else {name: "~/x/y"}
        (tmp_path / "experiment").mkdir()
        text = f"# @package _global_\n{yaml.safe_dump(content)}"
        (tmp_path / "experiment" / "mine.yaml").write_text(text)
        overrides = [chosen, "experiment=mine"]

    values = values_of(composed(overrides, folders), folders)
    for part in key.split("."):
        values = values[part]
    assert values == f"{HOME}/x/y"


def test_what_refers_to_a_path_is_at_home_with_it(ann, monkeypatch):
    monkeypatch.setenv("DATA", "~/d")
    overrides = ["dataset=csv", "outputs='~/o'", "dataset.root='${oc.env:DATA}'"]
    values = values_of(composed([*overrides, "dataset.exclude=['~/a','b']"]))
    assert values["dataset"]["prepared"] == f"{HOME}/o/cache/prepared"
    assert values["dataset"]["root"] == f"{HOME}/d"
    assert values["dataset"]["exclude"] == [f"{HOME}/a", "b"]


def test_only_paths_are_changed(ann):
    overrides = ["dataset=csv", "dataset.separator='~/'", "dataset.positive='~/x'"]
    values = values_of(composed(overrides))["dataset"]
    assert (values["separator"], values["positive"]) == ("~/", "~/x")


def test_keys_of_ones_own_class_are_at_home_where_their_comment_calls_them_paths(ann, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "noise.yaml").write_text(
        "_target_: extras.Noise\nname: noise\n"
        "notes: ~/notes      # path: of the notes\n"
        "folder: ~/f         # folder, or null: of more\n"
        "files: [~/a, ~/b]   # text file or list of text files: of words\n"
        "table: ~/t.csv      # file t.csv: of numbers\n"
        "start: ~/w.pt       # weights | DEFAULT: of the start\n"
        "word: ~/w           # some text: which is none\n"
    )
    method = values_of(composed(["method=noise"], [tmp_path]), (tmp_path, CONF))["method"]
    found = {key: method[key] for key in ("notes", "folder", "table", "start", "word")}
    assert found == {
        "notes": f"{HOME}/notes",
        "folder": f"{HOME}/f",
        "table": f"{HOME}/t.csv",
        "start": f"{HOME}/w.pt",
        "word": "~/w",
    }
    assert method["files"] == [f"{HOME}/a", f"{HOME}/b"]


@pytest.mark.parametrize("key", ["outputs", "original.weights", "dataset.root"])
def test_a_home_that_there_is_not_is_refused_by_its_key(key):
    with pytest.raises(UserError, match=rf"^{key}=~nobody_is_so/x: there is no home folder"):
        values_of(composed([f"{key}='~nobody_is_so/x'"]))


SMALL = (
    "method=head",
    "reference=none",
    "dataset.images=120",
    "dataset.image_size=32",
    "training.epochs=1",
    "attack=none",
    "logger=none",
    "trainer.accelerator=cpu",
)


def launched(start: Path, said: Path, *words: str) -> None:
    """`python launch.py <words>` from a folder; what it says goes to another one."""
    said.mkdir()
    code = ended(started(within, start, said, words, os.environ["HOME"]))
    assert code == 0, (said / "stderr").read_text()


def within(start: Path, said: Path, words: tuple[str, ...], home: str) -> None:
    """In the child."""
    os.environ["HOME"] = home
    os.chdir(start)
    carry_out(str(ROOT / "launch.py"), words, said)


def test_hydras_folders_begin_at_home_and_jobs_in_their_folders_share_the_cache(
    tmp_path, monkeypatch
):
    """By a user's yaml, which Hydra reads anew for each job."""
    home, start = tmp_path / "home", tmp_path / "start"
    (home / "mine" / "experiment").mkdir(parents=True)
    start.mkdir()
    (home / "mine" / "experiment" / "two.yaml").write_text(
        "# @package _global_\noutputs: ~/out\nhydra: {sweep: {dir: ~/sweep}, job: {chdir: true}}\n"
    )
    monkeypatch.setenv("HOME", str(home))

    words = ("--config-dir=~/mine", "-m", "experiment=two", *SMALL, "method=head,original")
    launched(start, tmp_path / "said", *words)
    assert {file.parent for file in home.rglob("results.json")} == {
        home / "sweep" / job for job in "01"
    }
    cached = (home / "out" / "cache" / "original").iterdir()
    assert len([one for one in cached if one.is_dir()]) == 1
    assert list(start.iterdir()) == []


def test_a_job_in_its_own_folder_is_as_one_without(tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    words = (*SMALL, "outputs=out", "seed=5")
    for name, chdir in (("a", "false"), ("b", "true")):
        folders = (f"hydra.run.dir=runs/{name}", f"hydra.job.chdir={chdir}")
        launched(start, tmp_path / name, *words, *folders)

    assert {file.name for file in start.iterdir()} == {"out", "runs"}
    (one, other) = (start / "runs" / name for name in "ab")
    assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()
    assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}
    found = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert found[1]["measured"]["original"]["cached"]


DOORS = {
    "report": lambda: report.main(["~/none"]),
    "report --out": lambda: report.main(["~/runs", "--out=~nobody_is_so/x"]),
    "certify": lambda: certify.main(["~/none"]),
    "certify --verify": lambda: certify.main(["~/none", "--verify=~/c.json"]),
    "predict": lambda: predict.main(["~/none", "~/a.jpg"]),
    "preview": lambda: preview.main(["--output=~/none/x.png", "--images=1"]),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_other_doors_begin_at_home(door, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    try:
        code = DOORS[door]()
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert code == 2
    assert str(tmp_path) in said.err or "no home folder" in said.err
    assert not Path("~").exists()


def test_the_doors_of_data_sets_begin_at_home(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["doctor", "dataset=csv", "dataset.root=~/faces"])
    with pytest.raises(SystemExit):
        dataset_command("mlu.doctor", "Look.", doctor.examined)
    assert f"{tmp_path}/faces/labels.csv" in capsys.readouterr().err
