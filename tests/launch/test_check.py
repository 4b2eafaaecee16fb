"""What a configuration alone shows to be impossible."""

import pytest

from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of
from mlu.launch.options import CONF
from mlu.system.errors import UserError


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
