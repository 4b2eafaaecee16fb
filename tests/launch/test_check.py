"""What a configuration alone shows to be impossible."""

import copy

import pytest
import yaml

from mlu.launch.check import check_config, check_values, known_labels, quoted, value_at
from mlu.launch.compose import composed, values_of
from mlu.launch.options import CONF
from mlu.system.errors import UserError

CSV = ("dataset=csv", "forget_label.names=[Bald]")


@pytest.mark.parametrize(
    "override",
    [
        "attack.aia.images=19",
        "attack.aia.strength=0",
        "attack.aia.hidden=0",
        "attack.lira.shadows=7",
        "attack.lira.shadows=4",
        "attack.lira.a=1.5",
        "attack.lira.gamma=0",
        "attack.lira.jobs=0",
        "attack.relearn.samples=8",
        "attack.relearn.samples=[]",
        "attack.relearn.samples=[8,3]",
        "attack.relearn.recovered=0",
        "attack.relearn.cap=0",
        "attack.relearn.lr=-1",
        "canaries.withheld=1",
        "canaries.flipped=2",
    ],
)
def test_an_impossible_attack_is_refused_before_anything_is_trained(override, experiment):
    key = override.split("=")[0].replace(".", r"\.")
    with pytest.raises(UserError, match=rf"^{key} must be"):
        experiment("attack=all", override)


@pytest.mark.parametrize(
    "override",
    [
        "steps=50",
        "steps=[50,0]",
        "steps=[]",
        "lr=0",
        "batch_size=1",
        "images=1",
        "bits=[8,1]",
        "bits=[17]",
        "pruned=0",
        "pruned=1",
        "interpolated=[1]",
        "learnt=19",
        "strength=0",
        "judged=train",
    ],
)
def test_an_impossible_treatment_is_refused_before_anything_is_trained(override, experiment):
    key = override.split("=")[0]
    with pytest.raises(UserError, match=rf"^attack\.durability\.{key} must be"):
        experiment("attack=durability", f"attack.durability.{override}")


def test_fine_tuning_without_an_end_is_refused(experiment):
    with pytest.raises(UserError, match="both null"):
        experiment("method=finetune", "method.tuning.epochs=null")
    with pytest.raises(UserError, match=r"method\.tuning\.epochs must be a whole number"):
        experiment("method=scrub", "method.tuning.epochs=null", "method.tuning.steps=3")


@pytest.mark.parametrize(
    ("method", "alpha"), [("wp", "cv"), ("neggrad", 1), ("ssd", 10), ("scrub", 2)]
)  # fmt: skip
def test_alpha_means_something_else_in_every_method(method, alpha, experiment):
    assert experiment(f"method={method}", f"method.alpha={alpha}").method.alpha == alpha
    wrong = {"wp": -1, "neggrad": 2, "ssd": 0, "scrub": "cv"}[method]
    with pytest.raises(UserError, match=r"method\.alpha must be"):
        experiment(f"method={method}", f"method.alpha={wrong}")


def test_a_method_of_a_user_s_own_may_have_keys_of_its_own(tmp_path):
    """Any, where its yaml says nothing of them."""
    (tmp_path / "method").mkdir()
    own = "name: mine\n_target_: mine.Mine\nown: 1\n"
    (tmp_path / "method" / "mine.yaml").write_text(own)
    check_config(
        values_of(composed(["method=mine", "+method.more=x"], [tmp_path])), (tmp_path, CONF)
    )
    with pytest.raises(UserError, match=r"there is no key 'method\.own' of method=wp"):
        check_config(values_of(composed(["+method.own=1"])))


UNASKED = {
    "a search taken away": (["~method.search"], None),
    "a search taken away, by value": (["method=scrub", "~method.search"], None),
    "a file without a search": (["method=mine"], {"search": None}),
    "a file without a search and a preset": (["method=mine", "preset=default"], {"search": None}),
    "a file with another search": (["method=mine"], {"search": {"method.phi": [0.1, 0.2]}}),
    "a data set that forgets nothing by default": (
        ["dataset=mine", "forget_label=bald"],
        {"default_forget": None},
    ),
}
"""Keys that decide nothing of a run need not be there: overrides, and what a file of a user's own
has otherwise than ours (None: not at all)."""


@pytest.mark.parametrize("case", UNASKED)
def test_what_decides_nothing_need_not_be_there(case, tmp_path):
    words, changes = UNASKED[case]
    if changes:
        group, ours = ("dataset", "faces") if "dataset=mine" in words else ("method", "wf")
        own = yaml.safe_load((CONF / group / f"{ours}.yaml").read_text())
        gone = [key for key, value in changes.items() if value is None]
        own = {key: value for key, value in (own | changes).items() if key not in gone}
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(yaml.safe_dump(own))
    folders = (tmp_path, CONF)
    check_config(values_of(composed(words, [tmp_path]), folders), folders)


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ("[[Male],[Male]]", "each label once"),
        ("[[Male],[Gender]]", "each label once"),
        ("[[Male],[]]", "requests must be lists of labels"),
        ("[]", "requests must be a list of lists"),
        ("[Male]", "requests must be a list of lists"),
        ("Male", "requests must be a list of lists"),
        ("[[Male],[Yuong]]", "did you mean 'Young'?"),
    ],
)
def test_requests_that_cannot_be_are_refused(experiment, requests, says):
    with pytest.raises(UserError) as error:
        experiment(f"requests={requests}")
    assert says in str(error.value)


@pytest.fixture(scope="module")
def whole():
    return values_of(composed(["method=wp"]))


def changed(values, key, value):
    found = copy.deepcopy(values)
    *outer, last = key.split(".")
    part = value_at(found, ".".join(outer))
    part[last] = value
    return found


def test_plain_values_are_accepted_and_left_as_they_are(whole):
    before = copy.deepcopy(whole)
    check_config(whole)
    assert whole == before


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("phi", 2, "phi must be a number in [0, 1], or null, got 2: set phi=..."),
        ("method.phi", "x", "method.phi must be a number in [0, 1], got 'x': set method.phi=..."),
        ("method.phy", 1, "there is no key 'method.phy' of method=wp, did you mean 'method.phi'?"),
        ("training", None, "training must be a group of keys, got None: set training.KEY=..."),
        (
            "dataset._target_",
            "mlu.data.synthetic.Faces",
            "dataset._target_=mlu.data.synthetic.Faces has moved: "
            "set dataset._target_=mlu.data.sets.faces.dataset.Faces",
        ),
    ],
)
def test_a_wrong_value_is_one_line(key, value, says, whole):
    with pytest.raises(UserError) as fault:
        check_config(changed(whole, key, value))
    assert str(fault.value).startswith(says)


@pytest.mark.parametrize("key", ["seed", "trainer.devices", "dataset.labels", "method.phi"])
def test_a_key_that_is_gone_is_missed(key, whole):
    gone = copy.deepcopy(whole)
    above, _, last = key.rpartition(".")
    del value_at(gone, above)[last]
    with pytest.raises(UserError, match=rf"^{key} is missing: .*it must be "):
        check_values(gone)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["dataset=celeba"], 40),
        (["dataset=vggface2"], 47),
        (["dataset=mufac"], 8),
        (["dataset=digits"], 10),
        ([*CSV], 0),
    ],
)
def test_all_labels_of_a_data_set_are_known_where_they_are_always_the_same(words, count):
    assert len(known_labels(check_values(values_of(composed(words))))) == count


def test_a_data_set_of_fewer_labels_has_as_many_as_ever():
    values = values_of(composed(["dataset=digits", "dataset.labels=[1,3]"]))
    assert len(known_labels(check_values(values))) == 10


def test_a_file_that_is_to_be_read_must_be_there(tmp_path):
    file = tmp_path / "left_out.txt"
    file.write_text("a.png\n")
    check_config(values_of(composed([*CSV, f"dataset.exclude={file}"])))
    with pytest.raises(UserError, match="is no file: give the path of a text file, or null"):
        check_config(values_of(composed([*CSV, f"dataset.exclude=[{file},{file}x]"])))


def test_a_long_value_is_cut_and_a_short_one_is_not():
    assert quoted("a") == "'a'"
    assert quoted("a" * 500) == f"'{'a' * 99}..."
