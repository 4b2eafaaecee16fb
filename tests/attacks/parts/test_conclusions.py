import numpy as np
import pytest

from mlu.attacks.parts.conclusions import (
    above_floor,
    beyond_retained,
    released_findings,
    released_place,
    repeated_for_the_worst,
    strongest_findings,
)
from mlu.metrics.findings import NO_REFERENCE, Finding, Trial
from mlu.metrics.trials import balanced_accuracy_of, excess_finding

TRUTH = np.arange(120) % 2 == 0


def told(distance, held_out, seed=0):
    """A trial of a reader that tells the label so well, and did so of held-out people."""
    random = np.random.default_rng([seed, round(10 * distance)])
    scores = random.normal(size=len(TRUTH)) + distance * (TRUTH - 0.5)
    return Trial(scores, TRUTH, np.arange(len(TRUTH)), held_out)


OURS = {
    "output": told(0.0, np.nan),
    "outputs": told(1.0, 0.7),
    "outputs/svm": told(2.0, 0.6),
    "features": told(0.5, 0.5),
    "features/trees": told(1.5, 0.8),
    "features/block1": told(3.0, 0.9),
    "beyond_retained": told(2.0, 0.9),
}
THEIRS = {
    "output": told(0.0, np.nan, 1),
    "outputs": told(1.0, 0.6, 1),
    "outputs/svm": told(1.5, 0.7, 1),
    "features": told(1.0, 0.9, 1),
    "features/trees": told(0.2, 0.8, 1),
    "features/block1": told(3.0, 0.9, 1),
    "beyond_retained": told(2.0, 0.9, 1),
}


def by_path(found):
    return {one.path: one for one in found}


def test_each_model_is_read_by_the_reader_that_its_own_held_out_people_show():
    found = by_path(strongest_findings(OURS, THEIRS))
    chosen = {"outputs": ("outputs", "outputs/svm"), "features": ("features/trees", "features")}
    for place, (ours, theirs) in chosen.items():
        rate = found[f"strongest/{place}/balanced_accuracy"]
        assert rate.value == pytest.approx(balanced_accuracy_of(OURS[ours]))
        assert rate.chosen == {"reader": ours}
        expected = excess_finding("x", OURS[ours], THEIRS[theirs])
        excess = found[f"strongest/{place}/excess"]
        assert (excess.value, excess.low, excess.high) == (
            expected.value,
            expected.low,
            expected.high,
        )


def test_what_is_released_are_outputs_and_features_and_the_larger_excess_counts():
    found = by_path(strongest_findings(OURS, THEIRS))
    places = {place: found[f"strongest/{place}/excess"] for place in ("outputs", "features")}
    larger = max(places, key=lambda place: places[place].value)
    assert released_place(OURS, THEIRS) == larger

    whole = by_path(released_findings(OURS, THEIRS, larger))
    assert whole["strongest/excess"].value == places[larger].value
    assert whole["strongest/excess"].chosen["place"] == larger
    assert whole["strongest/excess"].high == max(one.high for one in places.values())
    assert whole["strongest/auroc"].value == found[f"strongest/{larger}/auroc"].value

    # Another model's place is taken as it is, with the ends that it has there.
    (other,) = {"outputs", "features"} - {larger}
    beside = by_path(released_findings(OURS, THEIRS, other))["strongest/excess"]
    assert (beside.value, beside.low, beside.high) == (
        places[other].value,
        places[other].low,
        places[other].high,
    )


def test_the_same_reader_is_held_against_itself_wherever_it_finds_most():
    found = by_path(strongest_findings(OURS, THEIRS))
    for path, names in (
        ("same_reader/outputs", ["outputs", "outputs/svm"]),
        ("same_reader/features", ["features", "features/trees"]),
        ("same_reader", ["outputs", "outputs/svm", "features", "features/trees"]),
    ):
        values = {name: excess_finding("x", OURS[name], THEIRS[name]).value for name in names}
        assert found[f"{path}/excess"].value == pytest.approx(max(values.values()))
        assert found[f"{path}/excess"].chosen == {"reader": max(values, key=values.get)}


def test_without_retrain_there_is_no_excess_and_the_place_that_shows_most_counts():
    found = by_path(strongest_findings(OURS, None))
    assert {one.missing for path, one in found.items() if path.endswith("excess")} == {NO_REFERENCE}
    rates = {
        place: found[f"strongest/{place}/balanced_accuracy"].value
        for place in ("outputs", "features")
    }
    place = released_place(OURS, None)
    assert place == max(rates, key=rates.get)
    whole = by_path(released_findings(OURS, None, place))
    assert whole["strongest/balanced_accuracy"].value == rates[place]
    assert whole["strongest/excess"].missing == NO_REFERENCE


def test_without_retrain_the_strongest_reader_is_held_against_what_retained_labels_tell():
    told_by_labels = {"": told(0.4, 0.6, 3), "/trees": told(0.8, 0.7, 3)}
    found = by_path(above_floor(OURS, told_by_labels, "features"))
    assert list(found) == [
        "strongest/outputs/above_floor",
        "strongest/features/above_floor",
        "strongest/above_floor",
        "strongest/stages/above_floor",
    ]
    # The readers that held-out people show: of the model's features and of the labels, the trees.
    expected = excess_finding("x", OURS["features/trees"], told_by_labels["/trees"])
    for path in ("strongest/features/above_floor", "strongest/above_floor"):
        one = found[path]
        assert (one.value, one.low, one.high) == (expected.value, expected.low, expected.high)
    by_hand = balanced_accuracy_of(OURS["features/trees"]) - balanced_accuracy_of(
        told_by_labels["/trees"]
    )
    assert expected.value == pytest.approx(by_hand)
    # The negative control: the same answers are above themselves by nothing.
    same = by_path(above_floor({**OURS, "features/trees": told(0.8, 0.8, 3)}, told_by_labels, ""))
    assert same["strongest/features/above_floor"].value == 0


def test_a_label_that_cannot_be_read_has_no_figure_and_the_reason():
    none = dict.fromkeys(OURS, "why")
    place = released_place(none, none)
    for found in (
        strongest_findings(none, none),
        released_findings(none, none, place),
        beyond_retained(none, {"": "why"}),
    ):
        assert {(one.value, one.missing) for one in found} == {(None, "why")}


def test_beyond_the_retained_labels_is_less_what_they_tell_alone():
    known = {"": told(1.0, 0.8, 2), "trees": told(0.3, 0.9, 2)}
    balanced, bits = beyond_retained(OURS, known)
    expected = balanced_accuracy_of(OURS["beyond_retained"]) - balanced_accuracy_of(known["trees"])
    assert balanced.value == pytest.approx(expected)
    assert (balanced.path, bits.path) == (
        "beyond_retained/balanced_accuracy",
        "beyond_retained/bits",
    )
    alone, _ = beyond_retained(OURS, {"": OURS["beyond_retained"]})
    assert (alone.value, alone.low, alone.high) == (0, 0, 0)


def figures(**excess):
    return [
        Finding(f"aia/label/{label}/features/{name}", value + (name != "excess"), value, value)
        for label, value in excess.items()
        for name in ("balanced_accuracy", "excess")
    ]


def test_the_label_that_shows_most_in_the_unlearned_model_stands_for_all_models():
    models = {
        "original": figures(a=0.3, b=0.1),
        "unlearned": figures(a=0.0, b=0.2),
        "proxy": [Finding("aia/label/a/auroc", 0.9), Finding("aia/label/b/auroc", 0.6)],
    }
    found = repeated_for_the_worst("aia", models)
    for name, value in (("original", 0.1), ("unlearned", 0.2)):
        one = by_path(found[name])["aia/features/excess"]
        assert (one.value, one.low, one.high, one.chosen) == (value, None, None, {"label": "b"})
        rate = by_path(found[name])["aia/features/balanced_accuracy"]
        assert (rate.value, rate.low) == (1 + value, value)
        assert found[name][: len(models[name])] == models[name]


def test_a_single_label_is_repeated_with_its_interval():
    found = by_path(repeated_for_the_worst("aia", {"unlearned": figures(a=0.1)})["unlearned"])
    one = found["aia/features/excess"]
    assert (one.value, one.low, one.high, one.chosen) == (0.1, 0.1, 0.1, None)
