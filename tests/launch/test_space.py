"""What a search draws: the words of a command line, as distributions and back."""

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution as Choice,
)
from optuna.distributions import (
    FloatDistribution as Number,
)
from optuna.distributions import (
    IntDistribution as Whole,
)

from mlu.launch.compose import composed
from mlu.launch.options import options_of
from mlu.launch.space import space_of, written
from mlu.system.errors import UserError


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("phi=interval(0.01, 0.3)", Number(0.01, 0.3)),
        ("phi=interval(1, 3)", Number(1.0, 3.0)),
        ("phi=int(interval(1, 3))", Whole(1, 3)),
        ("phi=tag(log, interval(0.01, 0.3))", Number(0.01, 0.3, log=True)),
        ("seed=tag(log, int(interval(1, 100)))", Whole(1, 100, log=True)),
        # As in every other sweep, the end of a range is not in it.
        ("seed=range(1, 4)", Whole(1, 3)),
        ("seed=range(0, 10, 3)", Whole(0, 9, step=3)),
        ("seed=range(4, 1, -1)", Whole(2, 4)),
        ("seed=range(3)", Whole(0, 2)),
        ("phi=range(0.1, 0.35, 0.1)", Number(0.1, 0.3, step=0.1)),
        ("seed=shuffle(range(1, 4))", Whole(1, 3)),
        ("phi=choice(0.1, 0.2)", Choice([0.1, 0.2])),
        ("phi=0.1,0.2", Choice([0.1, 0.2])),
        ("phi=null,0.2", Choice(["null", 0.2])),
        ("method=shuffle(choice(wf, wp))", Choice(["wf", "wp"])),
        ("method=wf,wf,wp", Choice(["wf", "wp"])),
        ("+method.new=true,false", Choice(["true", "false"])),
        ("forget_label.names=[Male],[Young,Bald]", Choice(["[Male]", "[Young,Bald]"])),
    ],
)
def test_a_word_says_what_is_drawn(word, distribution):
    space = space_of([word])
    assert [one.distribution for one in space.drawn.values()] == [distribution]
    assert space.fixed == {}


@pytest.mark.parametrize(
    "word",
    [
        "phi=interval(0.3, 0.1)",
        "phi=interval(0, inf)",
        "phi=tag(log, interval(0, 1))",
        "seed=range(3, 3)",
        "phi=range(0.3, 0.3, 0.1)",
        "seed=tag(log, int(interval(0, 5)))",
    ],
)
def test_nothing_to_draw_is_one_line_with_the_word(word):
    with pytest.raises(UserError) as fault:
        space_of([word])
    assert str(fault.value).startswith(f"{word}: there is nothing to draw: ")


@pytest.mark.parametrize(
    ("words", "drawn", "fixed"),
    [
        (["phi=interval(0, 1)", "phi=0.1"], [], ["phi=0.1"]),
        (["phi=0.1", "phi=interval(0, 1)"], ["phi"], []),
        (["phi=0.1", "phi=0.2"], [], ["phi=0.2"]),
        (["+a.b=0.1", "+a.b=1,2"], ["a.b"], []),
        (["phi=0.1,0.2", "~canaries"], ["phi"], ["~canaries"]),
        (["logger.name='a b'", "phi=1,2"], ["phi"], ["logger.name='a b'"]),
    ],
)
def test_what_is_said_last_counts(words, drawn, fixed):
    space = space_of(words)
    assert list(space.drawn) == drawn
    assert list(space.fixed.values()) == fixed


@pytest.mark.parametrize(
    ("word", "values"),
    [
        (
            "names=choice('a b', \"it's\", '1', a, 1, 1.5, true, '')",
            ["a b", "it's", "1", "a", 1, 1.5, True, ""],
        ),
        ("names='1',1,null,'null',x", ["1", 1, None, "null", "x"]),
        ("+names=[Male],[Young,'a b']", [["Male"], ["Young", "a b"]]),
        ("names={a:1},{a:[2,null]}", [{"a": 1}, {"a": [2, None]}]),
        ("seed=range(1, 4)", [1, 2, 3]),
        ("phi=range(0.00001, 0.000025, 0.00001)", [0.00001, 0.00002]),
    ],
)
def test_a_job_gets_what_was_meant(word, values):
    """Every value that is drawn is read again as one of those that the word stands for."""
    space = space_of([word])
    parser = OverridesParser.create()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = []
    for _ in range(60):
        trial = study.ask()
        space.draw(trial)
        (text,) = space.overrides(trial.params)
        override = parser.parse_override(text)
        assert text.split("=")[0] == word.split("=")[0]
        seen.append(override.value())
    assert {repr(one) for one in seen} == {repr(one) for one in values}


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False)))
def test_any_value_is_written_so_that_hydra_reads_it(value):
    read = OverridesParser.create().parse_override(f"key={written(value)}").value()
    assert read == value
    assert type(read) is type(value)


def test_options_of_a_group_are_found_by_a_pattern():
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from mlu.launch.options import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        (one,) = space_of(["method=glob(w*)"], loader).drawn.values()
    assert list(one.distribution.choices) == [
        name for name in options_of("method") if name.startswith("w")
    ]


def test_a_grid_has_every_value_and_an_interval_has_none():
    space = space_of(["seed=range(1, 6, 2)", "phi=range(0.1, 0.35, 0.1)", "method=wf,wp"])
    grid = space.grid()
    assert grid["seed"] == [1, 3, 5]
    assert grid["phi"] == pytest.approx([0.1, 0.2, 0.3])
    assert grid["method"] == ["wf", "wp"]
    with pytest.raises(UserError, match="sampler=grid: phi has too many values"):
        space_of(["phi=interval(0, 1)"]).grid()


def test_what_is_set_is_an_attribute_of_the_trial():
    trial = optuna.create_study().ask()
    space_of(["phi=interval(0, 1)", "method=wf"]).draw(trial)
    assert trial.user_attrs == {"method": "wf"}
    assert set(trial.params) == {"phi"}
    assert composed([*space_of(["method=wf"]).fixed.values()]).method.name == "wf"
