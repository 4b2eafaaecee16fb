from matplotlib.figure import Figure as Canvas

from mlu.runs.style import COLOURS, tidy


def test_models_can_be_told_apart():
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_axes_are_named_and_open_above_and_at_the_right():
    axes = Canvas().subplots()
    tidy(axes, "below", "above")
    assert (axes.get_xlabel(), axes.get_title()) == ("below", "above")
    seen = {side for side, spine in axes.spines.items() if spine.get_visible()}
    assert seen == {"left", "bottom"}
