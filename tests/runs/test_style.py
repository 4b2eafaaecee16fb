from matplotlib.figure import Figure as Canvas

from mlu.runs.style import COLOURS, step_axis, tidy


def test_models_can_be_told_apart():
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_axes_are_named_and_open_above_and_at_the_right():
    axes = Canvas().subplots()
    tidy(axes, "below", "above")
    assert (axes.get_xlabel(), axes.get_title()) == ("below", "above")
    seen = {side for side, spine in axes.spines.items() if spine.get_visible()}
    assert seen == {"left", "bottom"}


def test_steps_have_a_tick_each_and_what_was_released_stands_before_the_first():
    axes = Canvas().subplots()
    step_axis(axes, [0, 50, 200, 800])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "50", "200", "800"]
    places = axes.transData.transform([(step, 0) for step in (0, 50, 200, 800)])[:, 0]
    assert (places[1:] > places[:-1]).all()
    # Factors of four are equally far apart.
    assert abs((places[3] - places[2]) - (places[2] - places[1])) < 1e-6
