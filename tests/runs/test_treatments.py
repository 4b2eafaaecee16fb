from mlu.runs.treatments import treatments_in

START = "unlearned/attack/durability"


def test_fine_tuning_is_ordered_by_its_steps_and_begins_at_release():
    names = ("finetune_200", "int8", "untreated", "finetune_50", "pruned")
    found = treatments_in(f"{START}/{name}/excess" for name in names)
    assert list(found.tuned) == [0, 50, 200]
    assert found.tuned[0] == f"{START}/untreated/excess"
    assert found.others == {name: f"{START}/{name}/excess" for name in ("int8", "pruned")}


def test_no_other_figure_is_a_treatment():
    others = (
        f"{START}/int8/outputs/excess",
        f"{START}/int8/label/a/excess/features/excess",
        f"{START}/int8/balanced_accuracy",
        f"{START}/int8/excess/low",
        "retrain/attack/durability/int8/excess",
        "unlearned/attack/aia/excess",
        f"{START}/excess",
    )
    found = treatments_in(others)
    assert (found.tuned, found.others) == ({}, {})
