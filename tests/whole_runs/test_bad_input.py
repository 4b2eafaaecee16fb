"""What is wrong with a configuration, a file or a value ends a command early, with one line, and
leaves no result."""

import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from mlu.models.backbones import ResNet, Tiny
from tests.support.command_line import ROOT
from tests.support.forked import Commands, warm
from tests.support.photo_folder import write_lines, write_photos

CSV = ["dataset=csv", "forget_label.names=[Bald]"]

GROUPS = {
    "dataset": ("celebs", "celeba"),
    "backbone": ("resnet19", "resnet18"),
    "method": ("wpp", "wp"),
    "preset": ("sauce", "source"),
    "forget_label": ("gendr", "gender"),
    "attack": ("lirra", "lira"),
    "trainer": ("dpp", "ddp"),
    "logger": ("wandbb", "wandb"),
    "experiment": ("tabel1", "table1"),
    "budget": ("papier", "paper"),
    "hydra/launcher": ("jobli", "joblib"),
    "hydra/sweeper": ("optuma", "optuna"),
}
"""Of each group a name that there is not, and the nearest one."""

CONFIG = {
    **{
        f"name in {group}": (
            [f"{group}={wrong}"],
            [f"{group}={wrong} does not exist, did you mean {near!r}?"],
        )
        for group, (wrong, near) in GROUPS.items()
    },
    "one of several attacks": (
        ["attack=[aia,mai]"],
        ["attack=mai does not exist, did you mean 'mia'?"],
    ),
    "method in a sweep": (
        ["-m", "method=wf,wpp"],
        ["method=wpp does not exist, did you mean 'wp'?"],
    ),
    "trainer that is refused": (["trainer=fsdp"], ["trainer=fsdp is refused: it cuts weights up"]),
    "key": (["epsilonn=1"], ["there is no key 'epsilonn', did you mean 'epsilon'?"]),
    "key of a method": (
        ["method.phy=1"],
        ["there is no key 'method.phy', did you mean 'method.phi'?"],
    ),
    "added key": (["+sede=1"], ["there is no key 'sede', did you mean 'seed'?"]),
    "key added to a method": (["+method.foo=1"], ["there is no key 'method.foo' of method=wp"]),
    "key that another method has": (
        ["method=head", "method.tuning.steps=1"],
        ["there is no key 'method.tuning.steps' with this choice of method."],
    ),
    "key of another method": (["+method.k=1"], ["there is no key 'method.k' of method=wp"]),
    "key added to the trainer": (
        ["+trainer.max_epochs=1"],
        ["there is no key 'trainer.max_epochs'"],
    ),
    "key that is gone": (["~epsilon"], ["epsilon is missing", "a number >= 0"]),
    "key of a method that is gone": (
        ["~method.phi"],
        ["method.phi is missing", "conf/method/wp.yaml"],
    ),
    "group that is gone": (["~backbone"], ["backbone is missing"]),
    "null for a group": (["backbone=null"], ["backbone=null: backbone must be one of resnet18, "]),
    "list for a group": (["dataset=[faces]"], ["dataset=[faces]: dataset must be one of celeba, "]),
    "two methods in a list": (
        ["method=[wp,wf]"],
        ["method=[wp,wf]: method must be one of boundary, "],
    ),
    "null for training": (
        ["training=null"],
        ["training must be a group of keys, got None: set training.KEY=..."],
    ),
    "number for tuning": (["method.tuning=5"], ["method.tuning must be a group of keys, got 5"]),
    "number for an attack": (
        ["attack=aia", "attack.aia=3"],
        ["attack.aia must be a group of keys, got 3"],
    ),
    "mapping for labels": (
        ["forget_label.names={a: b}"],
        ["forget_label.names must be", "got {'a': 'b'}"],
    ),
    "key below a number": (
        ["+method.tuning.lr.x=3"],
        ["method.tuning.lr must be a number > 0, got {'x': 3}"],
    ),
    "interpolation": (["epsilon=${nothing}"], ["epsilon='${nothing}'", "set epsilon=..."]),
    "circle": (["epsilon=${method.epsilon}"], ["epsilon='${", "set"]),
    "value that is missing": (["seed=???"], ["seed='???'", "set seed=..."]),
    "word without a value": (["wf"], ["cannot read 'wf'", "write key=value"]),
    "value without a key": (["=3"], ["cannot read '=3'", "write key=value"]),
    "open bracket": (["seed=[1,"], ["cannot read 'seed=[1,'", "write key=value"]),
    "list without -m": (["seed=1,2"], ["'seed=1,2'", "add -m"]),
    "flag": (["--phi=2"], ["unrecognized arguments: --phi=2", "--help"]),
    "flags that exclude each other": (
        ["--multirun", "--run"],
        ["--run, --multirun", "can be specified"],
    ),
    "mode of Hydra": (["hydra.mode=WALK"], ["hydra.mode=WALK", "RUN, MULTIRUN"]),
    "label": (["forget_label.names=[Blad]"], ["faces has no label 'Blad', did you mean 'Bald'?"]),
    "label of another data set": (
        ["dataset=digits", "forget_label=gender"],
        ["digits has no label 'Male'"],
    ),
    "no label to forget": (
        ["dataset=csv"],
        ["csv has no default label to forget: set 'forget_label.names=[...]'"],
    ),
    "nothing to forget": (
        ["forget_label.names=[]"],
        ["forget_label.names is empty: name at least one"],
    ),
    "everything to forget": (
        ["forget_label.names=${dataset.labels}"],
        ["names all 10 labels of faces"],
    ),
    "word for labels": (
        ["dataset.labels=Bald"],
        ["dataset.labels must be a list of labels' names", "got 'Bald'"],
    ),
    "label to learn": (
        ["dataset.labels=[Male,Blad]"],
        ["faces has no label 'Blad', did you mean 'Bald'?"],
    ),
    "label to learn of CelebA": (
        ["dataset=celeba", "dataset.labels=[Male,Smilling]"],
        ["did you mean 'Smiling'?"],
    ),
    "label twice": (
        ["dataset.labels=[Male,Young,Male]"],
        ["dataset.labels of faces has 'Male' twice"],
    ),
    "label twice by two names": (
        ["dataset.labels=[Male,Gender]"],
        ["dataset.labels of faces has 'Male' twice"],
    ),
    "label twice in requests": (
        ["requests=[[Male],[Gender,Bald]]"],
        ["requests must be", "each label once", "Gender"],
    ),
    "requests without lists": (
        ["requests=[Male]"],
        ["requests must be a list of lists", "got ['Male']"],
    ),
    "requests and another label": (
        ["requests=[[Male],[Young]]", "forget_label=bald"],
        [
            "forget_label.names=['Bald'] and requests=['Male', 'Young'] name different labels: "
            "set one"
        ],
    ),
    "images": (["dataset.images=10"], ["dataset.images must be a whole number >= 20, got 10"]),
    "no number of images": (
        ["dataset.images=null"],
        ["dataset.images must be a whole number >= 20, got None"],
    ),
    "more digits than there are": (
        ["dataset=digits", "dataset.images=2000"],
        ["in [20, 1797], or null, got 2000"],
    ),
    "correlation": (
        ["dataset.correlation=2"],
        ["dataset.correlation must be a number in [0, 1], got 2"],
    ),
    "pair of digits": (
        ["dataset=multidigits", "dataset.correlated=['3']"],
        ["dataset.correlated must be", "['3']"],
    ),
    "seed": (
        ["seed=4294967296"],
        ["seed must be a whole number in [0, 4294967295], got 4294967296"],
    ),
    "seed that is no whole number": (["seed=1.5"], ["seed must be a whole number", "got 1.5"]),
    "phi": (["phi=1.5"], ["phi must be a number in [0, 1], or null, got 1.5"]),
    "phi that is no number": (
        ["phi=much"],
        ["phi must be a number in [0, 1], or null, got 'much'"],
    ),
    "epsilon": (["epsilon=-0.1"], ["epsilon must be a number >= 0, or inf, got -0.1"]),
    "epsilon that is no number": (
        ["epsilon=nan"],
        ["epsilon must be a number >= 0, or inf, got nan"],
    ),
    "infinite learning rate": (["training.lr=inf"], ["training.lr must be a number > 0, got inf"]),
    "batch of one": (
        ["training.batch_size=1"],
        ["training.batch_size must be a whole number >= 2, got 1"],
    ),
    "fine-tuning without an end": (
        ["method.tuning.steps=null"],
        ["method.tuning.epochs and", "both null: set one"],
    ),
    "reference": (["reference=no"], ["reference must be 'retrain' or 'none', got 'no'"]),
    "Retrain without a reference": (
        ["method=retrain", "reference=none"],
        ["reference=none", "set reference=retrain"],
    ),
    "objective without a reference": (
        ["reference=none", "objective=retrain/test/retained/accuracy"],
        ["objective=retrain/test/retained/accuracy needs the reference: set reference=retrain"],
    ),
    "objective without an attack": (
        ["attack=none", "objective=unlearned/attack/aia/features/excess"],
        ["objective=unlearned/attack/aia/features/excess needs an attack: set attack=aia"],
    ),
    "objective of no model": (
        ["objective=unlerned/test/loss"],
        ["objective=unlerned", "did you mean 'unlearned'?"],
    ),
    "a best step of none": (
        ["keep=best"],
        ["keep=best chooses among the steps that are traced", "set trace=10, or keep=last"],
    ),
    "flipped canaries alone": (
        ["canaries.flipped=0.5"],
        ["canaries.flipped=0.5", "set canaries.withheld above 0"],
    ),
    "shadow models": (
        ["attack=lira", "attack.lira.shadows=7"],
        ["attack.lira.shadows must be an even", "got 7"],
    ),
    "samples": (
        ["attack=relearn", "attack.relearn.samples=[8,3]"],
        ["attack.relearn.samples must be", "got [8, 3]"],
    ),
    "preset that a method lacks": (
        ["preset=source", "method=wp"],
        ["preset=source: there is none for method=wp"],
    ),
    "original's weights": (
        ["original.weights=/nowhere/model.pt"],
        ["original.weights=/nowhere/model.pt", "give"],
    ),
    "backbone's weights": (
        ["backbone.weights=nowhere.pt"],
        ["backbone.weights=nowhere.pt does not exist", "give"],
    ),
    "name of weights": (
        ["backbone=resnet18", "backbone.weights=DEFAULTT"],
        ["backbone.weights=DEFAULTT is neither a file nor 'DEFAULT'", "did you mean 'DEFAULT'?"],
    ),
    "number for a path": (["backbone.weights=3"], ["backbone.weights must be a path", "got 3"]),
    "model of timm": (
        ["backbone=timm"],
        ["backbone.name must be a name, such as convnext_atto, got None"],
    ),
    "size of images": (
        ["backbone=vit_b_16", "backbone.image_size=32"],
        ["backbone.image_size=32", "set that"],
    ),
    "mode of the logger": (
        ["logger.mode=onlin"],
        ["logger.mode must be 'online' or", "got 'onlin'"],
    ),
    "project": (
        ["logger.project=null"],
        ["logger.project must be the name of a project", "got None"],
    ),
    "file of images to leave out": (
        [*CSV, "dataset.exclude=nowhere.txt"],
        ["dataset.exclude=nowhere.txt", "give"],
    ),
    "root that is a file": (
        [*CSV, f"dataset.root={__file__}"],
        ["dataset.root=", "give the path of a folder"],
    ),
    "prepared that is a file": (
        [*CSV, f"dataset.prepared={__file__}"],
        ["dataset.prepared=", "a folder"],
    ),
    "MAAD's table": (
        ["dataset=vggface2", "dataset.attributes=nowhere.csv"],
        ["dataset.attributes=nowhere.csv"],
    ),
    "two ways to give labels": (
        [*CSV, "dataset.list_column=tags", "dataset.class_column=age"],
        ["dataset.list_column=tags and dataset.class_column=age", "set one"],
    ),
    "column of two meanings": (
        [*CSV, "dataset.split_column=image"],
        ["dataset.split_column", "both 'image'"],
    ),
    "cell of two meanings": (
        [*CSV, "dataset.unknown=1.0"],
        ["dataset.positive and dataset.unknown", "only one"],
    ),
    "name with a path": (
        [*CSV, "dataset.name=../other"],
        ["dataset.name must be a name", "got '../other'"],
    ),
    "target": (
        ["method._target_='os system'"],
        ["method._target_ must be a class", "got 'os system'"],
    ),
    "outputs": (["outputs=null"], ["outputs must be a path", "got None"]),
    "outputs that cannot be": (
        ["outputs=/dev/null/x"],
        ["cannot read or write /dev/null/x", "outputs=..."],
    ),
}
"""What the configuration alone shows: overrides, and what the line says."""


@pytest.fixture(scope="module")
def light():
    """Commands that begin without torch."""
    commands = Commands("mlu.launch.cli")
    yield commands
    commands.end()


@pytest.fixture(scope="module")
def heavy():
    """The same of commands that begin with everything imported."""
    return warm


def refuse(done, says):
    """A command said what was wrong in one line, and ended with code 2."""
    assert done.code == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(part in done.stderr for part in says), done.stderr
    assert "Traceback" not in done.stdout


def refuse_results(folder):
    """Nothing was left that could be taken for a result."""
    left = [
        file.name
        for file in folder.rglob("*")
        if file.is_file() and not file.parent.name.endswith((".draft", ".mlu"))
    ]
    assert not [
        name for name in left if name.endswith((".json", ".safetensors", ".png", ".npz", ".html"))
    ], left


@pytest.mark.parametrize("case", CONFIG)
def test_a_fault_of_the_configuration_is_one_line_before_torch(case, light, tmp_path):
    overrides, says = CONFIG[case]
    outputs = tmp_path / "outputs"
    own = [] if any(word.startswith("outputs=") for word in overrides) else [f"outputs={outputs}"]
    done = light.run("mlu", [*overrides, *own], tmp_path / "said")
    refuse(done, says)
    assert done.stdout == ""
    assert not done.heavy
    # Hydra makes a folder for a sweep before it composes the jobs.
    assert not list(outputs.rglob("*"))


PATHS = [f"{number}.png" for number in range(40)]
HEADER = "image,Bald,Young"
ROWS = [f"{path},{number % 2},{number % 3 == 0:d}" for number, path in enumerate(PATHS)]
PARTS = ("test", "validation", "train")
TABLES = {
    "labels": [HEADER, *ROWS],
    "header": [HEADER],
    "cell": [HEADER, *ROWS[1:], "0.png,maybe,0"],
    "outside": [HEADER, *ROWS, "../secret.png,1,0"],
    "twice": [HEADER, *ROWS, ROWS[7]],
    "ragged": [HEADER, *ROWS, "x,1"],
    "missing": [HEADER, *ROWS, "x.png,1,0"],
    "few": [HEADER, *ROWS[:19]],
    "one": ["image,Bald", *(row.rpartition(",")[0] for row in ROWS)],
    "never": [HEADER, *(f"{path},0,{number % 2}" for number, path in enumerate(PATHS))],
    "split": [
        f"{HEADER},part",
        *(f"{row},{PARTS[min(number, 2)]}" for number, row in enumerate(ROWS)),
    ],
    "late": [f"{HEADER},part", *(f"{row},late" for row in ROWS)],
    "alone": [f"{HEADER},who", *(f"{row},Anna" for row in ROWS)],
    "classes": [
        "image,age",
        *(f"{path},{('old', 'young')[number % 2]}" for number, path in enumerate(PATHS)),
    ],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images, tables of labels and files of weights, most of them spoilt."""
    root = tmp_path_factory.mktemp("data")
    write_photos(root, PATHS)
    for name, lines in TABLES.items():
        write_lines(root / f"{name}.csv", *lines)
    (root / "empty.csv").write_bytes(b"")
    (root / "latin.csv").write_bytes(f"{HEADER}\n\xfc.png,1,0\n".encode("latin-1"))
    (root / "latin.txt").write_bytes(b"\xfc.png\n")
    (root / "torn.parquet").write_bytes(b"PAR1 torn")
    write_lines(root / "all.txt", *PATHS)
    (root / "text.pt").write_text("no weights")
    torch.save({"epoch": 3}, root / "epoch.pt")
    torch.manual_seed(0)
    nets = {"three": Tiny(name="tiny").build(3), "resnet": ResNet(name="resnet18").build(2)}
    infinite = Tiny(name="tiny").build(2)
    infinite.head.weight.data.fill_(float("nan"))
    for name, net in {**nets, "infinite": infinite}.items():
        state = {key: value.contiguous() for key, value in net.state_dict().items()}
        save_file(state, root / f"{name}.safetensors")
    whole = (root / "three.safetensors").read_bytes()
    (root / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    return root


RUN = [
    "dataset=csv",
    "dataset.image_size=16",
    "forget_label.names=[Bald]",
    "method=head",
    "reference=none",
    "attack=none",
    "logger=none",
    "trainer.accelerator=cpu",
    "training.epochs=1",
]
CLASSES = ["dataset.table=classes.csv", "dataset.class_column=age", "forget_label.names=[old]"]

DATA = {
    "root": (
        ["dataset.root=ROOT/none"],
        ["ROOT/none/labels.csv", "dataset.table=...", "dataset.root=..."],
    ),
    "table": (["dataset.table=none.csv"], ["ROOT/none.csv", "dataset.table=..."]),
    "folder of CelebA": (
        ["dataset=celeba", "forget_label=bald"],
        ["no list_attr_celeba.txt", "dataset.root=..."],
    ),
    "folder of CIFAR-10": (
        ["dataset=cifar10", "forget_label.names=[truck]"],
        ["no data_batch_1", "dataset.root=..."],
    ),
    "folder of VGGFace2": (
        ["dataset=vggface2", "forget_label=bald"],
        ["no folder train", "dataset.root=..."],
    ),
    "folder of MUFAC": (
        ["dataset=mufac", "forget_label.names=[31-45]"],
        ["no custom_train", "dataset.root=..."],
    ),
    "empty table": (["dataset.table=empty.csv"], ["ROOT/empty.csv: Empty CSV", "must be CSV"]),
    "table without rows": (
        ["dataset.table=header.csv"],
        ["table of csv lists no image", "give it"],
    ),
    "table in Latin-1": (
        ["dataset.table=latin.csv"],
        ["ROOT/latin.csv is not in UTF-8", "save it as CSV UTF-8"],
    ),
    "torn Parquet": (["dataset.table=torn.parquet"], ["ROOT/torn.parquet", "must be Parquet"]),
    "row that is too short": (
        ["dataset.table=ragged.csv"],
        ["#42", "Expected 3 columns, got 2", "give it a cell for each name"],
    ),
    "cell": (
        ["dataset.table=cell.csv"],
        ["row 40 (0.png), column 'Bald': 'maybe'", "set dataset.unknown"],
    ),
    "path that leads out": (
        ["dataset.table=outside.csv"],
        ["'../secret.png' leads out of ROOT", "relative"],
    ),
    "row twice": (["dataset.table=twice.csv"], ["row 7.png is there twice", "keep one"]),
    "image that is missing": (
        ["dataset.table=missing.csv"],
        ["ROOT/x.png is missing", "dataset.exclude=FILE"],
    ),
    "image column": (
        ["dataset.image_column=file"],
        ["no column 'file'", "It has image, Bald, Young"],
    ),
    "label column": (["dataset.labels=[Bald,Yuong]"], ["no column 'Yuong', did you mean 'Young'?"]),
    "label": (["forget_label.names=[Blad]"], ["csv has no label 'Blad', did you mean 'Bald'?"]),
    "only label": (["dataset.table=one.csv"], ["names all 1 labels of csv", "leave at least one"]),
    "label that nobody has": (
        ["dataset.table=never.csv"],
        ["no image of csv has 'Bald'", "another forget_label"],
    ),
    "few images": (["dataset.table=few.csv"], ["csv has 19 images: at least 20"]),
    "all images left out": (["dataset.exclude=ROOT/all.txt"], ["csv has 0 images: at least 20"]),
    "list of images in Latin-1": (
        ["dataset.exclude=ROOT/latin.txt"],
        ["cannot read dataset.exclude=ROOT/latin.txt"],
    ),
    "part": (
        ["dataset.table=late.csv", "dataset.split_column=part"],
        ["row 1 (0.png)", "train, validation", "'late'"],
    ),
    "part with one image": (
        ["dataset.table=split.csv", "dataset.split_column=part"],
        ["split of csv has 1 images", "give it more"],
    ),
    "one person": (
        ["dataset.table=alone.csv", "dataset.identity_column=who"],
        ["the train split of csv has 0 images"],
    ),
    "classes with canaries": (
        [*CLASSES, "canaries.withheld=0.5"],
        ["csv has classes: set canaries.withheld=0"],
    ),
    "labels where there must be classes": (
        ["method=boundary"],
        ["method=boundary serves singlelabel", "another"],
    ),
    "device": (
        ["trainer.accelerator=gpu"],
        ["trainer.accelerator=gpu is not to be had here", "use auto or cpu"],
    ),
    "weights that are text": (
        ["original.weights=ROOT/text.pt"],
        ["ROOT/text.pt is neither safetensors nor"],
    ),
    "weights that are none": (
        ["original.weights=ROOT/epoch.pt"],
        ["ROOT/epoch.pt holds no state dict", "save"],
    ),
    "weights that were cut": (
        ["original.weights=ROOT/half.safetensors"],
        ["ROOT/half.safetensors is neither"],
    ),
    "weights of other labels": (
        ["original.weights=ROOT/three.safetensors"],
        ["(3, 160) where (2, 160)", "labels"],
    ),
    "weights of a backbone": (
        ["original.weights=ROOT/resnet.safetensors"],
        ["ROOT/resnet", "another backbone?"],
    ),
    "weights that are NaN": (
        ["original.weights=ROOT/infinite.safetensors"],
        ["not finite", "ROOT/infinite"],
    ),
    "weights to start from": (
        ["backbone.weights=ROOT/resnet.safetensors"],
        ["backbone.weights lacks", "of the body"],
    ),
    "model of timm": (
        ["backbone=timm", "backbone.name=test_vt"],
        ["backbone.name=test_vt", "mean 'test_vit'?"],
    ),
    "size of patches": (
        ["backbone=vit_b_16", "dataset.image_size=40"],
        ["dataset.image_size=40", "use 32 or 48"],
    ),
    "class of a method": (
        ["method._target_=mlu.methods.head.Haed"],
        ["'mlu.methods.head.Haed'", "conf/method"],
    ),
    "class that is no method": (
        ["training._target_=builtins.dict"],
        ["training._target_=builtins.dict is no training"],
    ),
}
"""What only data, files or libraries show: overrides, and what the line says."""


@pytest.mark.parametrize("case", DATA)
def test_a_fault_of_the_data_is_one_line_and_leaves_no_result(case, heavy, root, tmp_path):
    overrides, says = ([word.replace("ROOT", str(root)) for word in words] for words in DATA[case])
    done = heavy(
        "mlu",
        [*RUN, f"dataset.root={root}", *overrides, f"outputs={tmp_path / 'outputs'}"],
        tmp_path,
    )
    refuse(done, says)
    refuse_results(tmp_path / "outputs")


OTHERS = {
    "predict nothing": ("mlu.predict", [], ["RUN, IMAGE", "--help"]),
    "predict by no run": (
        "mlu.predict",
        ["nowhere", "a.png"],
        ["there is no run in nowhere", "give the folder"],
    ),
    "predict by an unknown flag": ("mlu.predict", ["run", "a.png", "--jsno"], ["--jsno", "--help"]),
    "certify nothing": ("mlu.certify", [], ["RUN", "--help"]),
    "certify no run": (
        "mlu.certify",
        ["nowhere"],
        ["there is no run in nowhere", "give the folder"],
    ),
    "certify a run without results": (
        "mlu.certify",
        ["ROOT"],
        ["ROOT has no", "a run that has ended"],
    ),
    "verify no certificate": (
        "mlu.certify",
        ["ROOT", "--verify", "ROOT/labels.csv"],
        ["ROOT/labels.csv is no certif"],
    ),
    "report nothing": ("mlu.report", [], ["PATH", "--help"]),
    "report no folder": ("mlu.report", ["nowhere"], ["no folder nowhere", "give the folder"]),
    "report no run": (
        "mlu.report",
        ["ROOT"],
        ["no results.json in or below ROOT", "give the folder"],
    ),
    **{
        f"{name}: {what}": (f"mlu.{name}", words, says)
        for name in ("prepare", "doctor")
        for what, (words, says) in {
            "nothing": ([], ["name a data set", "dataset=NAME"]),
            "word": (["celeba"], ["cannot read 'celeba'", "write key=value"]),
            "data set": (
                ["dataset=celebs"],
                ["dataset=celebs does not exist, did you mean 'celeba'?"],
            ),
            "folder": (
                ["dataset=celeba", "dataset.root=ROOT"],
                ["no list_attr_celeba.txt", "dataset.root=..."],
            ),
            "key": (
                [*CSV, "dataset.tabel=x"],
                ["no key 'dataset.tabel', did you mean 'dataset.table'?"],
            ),
            "size": (
                [*CSV, "dataset.image_size=3"],
                ["dataset.image_size must be a whole number >= 16, got 3"],
            ),
            "table": (
                [*CSV, "dataset.root=ROOT", "dataset.table=none.csv"],
                ["ROOT/none.csv", "dataset.table=..."],
            ),
            "cell": (
                [*CSV, "dataset.root=ROOT", "dataset.table=cell.csv"],
                ["'Bald': 'maybe'", "dataset.unknown"],
            ),
            "label": (
                [*CSV, "dataset.root=ROOT", "dataset.labels=[Blad]"],
                ["did you mean 'Bald'?"],
            ),
            "no row": ([*CSV, "dataset.root=ROOT", "dataset.table=header.csv"], ["lists no image"]),
        }.items()
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_other_commands_are_as_strict(case, heavy, root, tmp_path):
    module, *both = OTHERS[case]
    words, says = ([word.replace("ROOT", str(root)) for word in words] for words in both)
    done = heavy(module, words, tmp_path)
    refuse(done, says)
    assert done.stdout == ""
    assert not (root / "certificate.json").exists()


def test_the_fork_is_what_a_process_is(light, heavy, tmp_path):
    """Neither is every command refused, nor is what it imports overlooked."""
    done = light.run("mlu", ["--cfg=job", "seed=7"], tmp_path)
    assert (done.code, done.stderr, done.heavy) == (0, "", [])
    assert "seed: 7" in done.stdout
    assert set(heavy("mlu", ["--cfg=job"], tmp_path).heavy) >= {"torch", "lightning"}
    for words, code in ((["phi=2"], 2), (["--cfg=job", "seed=7"], 0)):
        again = light.run("mlu", words, tmp_path)
        alone = subprocess.run(
            [sys.executable, "-m", "mlu", *words], capture_output=True, text=True, cwd=ROOT
        )
        assert (again.code, again.stdout, again.stderr) == (
            alone.returncode,
            alone.stdout,
            alone.stderr,
        )
        assert again.code == code


LIMITS = {
    "configuration": (["phi=2"], 5),
    "name in a group": (["method=wpp"], 5),
    "data": ([*RUN, "dataset.table=cell.csv"], 20),
}
"""Seconds of the processor after which a command has ended, whatever it was that it found."""


@pytest.mark.parametrize("case", LIMITS)
def test_a_fault_is_told_soon(case, root, tmp_path):
    """By its own time and that of what it starts: others may keep the processor busy."""
    words, limit = LIMITS[case]
    command = [sys.executable, "launch.py", *words, f"dataset.root={root}", f"outputs={tmp_path}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=10 * limit)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < limit
