"""The space of a search: overrides such as `phi=interval(0.01, 0.3)` as distributions, and back."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from mlu.launch.compose import unreadable
from mlu.system.errors import UserError, first_line

_MOST = 10_000
"""Values of one key in a grid at most."""


@dataclass(frozen=True)
class Drawn:
    """A key that is drawn.

    Attributes:
        name: The key as an override writes it, with a plus where it is added.
        distribution: Optuna's.
        texts: Of choices, how an override writes each, where it is no number.
    """

    name: str
    distribution: BaseDistribution
    texts: Mapping[Any, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """The keys of a search.

    Attributes:
        drawn: Those that are drawn.
        fixed: Those that are set, as overrides. What is said last counts, so none is in both.
    """

    drawn: Mapping[str, Drawn]
    fixed: Mapping[str, str]

    def described(self) -> dict[str, str]:
        """The distributions as text, by which two searches can be told apart."""
        return {key: distribution_to_json(one.distribution) for key, one in self.drawn.items()}

    def draw(self, trial: Trial) -> None:
        """Let a trial draw all keys; those that are set become its attributes."""
        for key, one in self.drawn.items():
            suggest_from(trial, key, one.distribution)
        for key, override in self.fixed.items():
            trial.set_user_attr(key, override.partition("=")[2])

    def overrides(self, params: Mapping[str, Any], fixed: bool = True) -> list[str]:
        """The overrides of the job of a trial that has drawn `params`, perhaps more than ours."""
        found = []
        for key, value in params.items():
            one = self.drawn.get(key, Drawn(key, CategoricalDistribution([value])))
            chosen = isinstance(value, str) and value in one.texts
            found.append(f"{one.name}={one.texts[value] if chosen else written(value)}")

        return [*found, *(self.fixed.values() if fixed else ())]

    def grid(self) -> dict[str, list[Any]]:
        """All values of each key."""
        return {key: values_in(key, one.distribution) for key, one in self.drawn.items()}


def suggest_from(trial: Trial, key: str, distribution: BaseDistribution) -> None:
    """Let a trial draw one key."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(key, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        trial.suggest_int(key, low, high, step=step, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        bounds = distribution.low, distribution.high
        trial.suggest_float(key, *bounds, step=distribution.step, log=distribution.log)


def space_of(words: Iterable[str], loader: ConfigLoader | None = None) -> Space:
    """The space of a command line's overrides; what comes later counts.

    Args:
        words: The overrides.
        loader: Knows the options of groups, for `method=glob(w*)`.
    """
    drawn: dict[str, Drawn] = {}
    fixed: dict[str, str] = {}
    for override in parsed(words, loader):
        key = override.get_key_element().lstrip("+")
        drawn.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            drawn[key] = drawn_from(override)
        else:
            fixed[key] = str(override.input_line)

    return Space(drawn, fixed)


def parsed(words: Iterable[str], loader: ConfigLoader | None) -> list[Override]:
    """Overrides as Hydra reads them; raises UserError."""
    parser, found = OverridesParser.create(config_loader=loader), []
    for word in words:
        try:
            found += parser.parse_overrides([word])
        except HydraException as fault:
            raise unreadable(word, fault) from fault

    return found


def drawn_from(override: Override) -> Drawn:
    """A key with the values that its override gives it; raises UserError."""
    name, value = override.get_key_element(), override.value()
    texts: dict[Any, str] = {}
    try:
        if isinstance(value, RangeSweep):
            distribution = distribution_of_range(value)
        elif isinstance(value, IntervalSweep):
            distribution = distribution_of_interval(value)
        else:
            if isinstance(value, ChoiceSweep):
                value.shuffle = False
            choices = [choice_of(one) for one in override.sweep_iterator()]
            texts = {one: one for one in choices if isinstance(one, str)}
            distribution = CategoricalDistribution(list(dict.fromkeys(choices)))
    except (ValueError, OverflowError) as fault:
        raise UserError(
            f"{override.input_line}: there is nothing to draw: {first_line(fault)}"
        ) from fault

    return Drawn(name, distribution, texts)


def choice_of(element: Any) -> Any:
    """A choice as Optuna stores it: a number as it is, all else as an override writes it."""
    if isinstance(element, int | float) and not isinstance(element, bool):
        return element
    plain = element is None or isinstance(element, str | bool)
    return written(element) if plain else Transformer.str(element)


def distribution_of_range(sweep: RangeSweep) -> BaseDistribution:
    """The values of `range(start, stop, step)`, which like everywhere leaves `stop` out."""
    values = sweep.range()
    if isinstance(values, range):
        low, high = sorted((values[0], values[-1])) if values else (1, 0)
        return IntDistribution(low, high, step=abs(values.step))

    # Steps add up errors of the last bits.
    listed = [float(f"{value:.12g}") for value in values]
    if not listed:
        raise ValueError("the range is empty")

    return FloatDistribution(min(listed), max(listed), step=abs(float(sweep.step or 1)))


def distribution_of_interval(sweep: IntervalSweep) -> BaseDistribution:
    """All numbers of `interval(start, end)`; whole ones of `int(interval(start, end))`."""
    start, end = sweep.start, sweep.end
    if start is None or end is None or not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("both ends must be numbers")

    log = "log" in sweep.tags
    if isinstance(start, int) and isinstance(end, int):
        return IntDistribution(start, end, log=log)

    return FloatDistribution(float(start), float(end), log=log)


def values_in(key: str, distribution: BaseDistribution) -> list[Any]:
    """All values of a key, for a grid; raises UserError where they cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)

    if isinstance(distribution, IntDistribution | FloatDistribution):
        low, step = distribution.low, distribution.step
        count = math.inf if not step else round((distribution.high - low) / step) + 1
        if count <= _MOST:
            return [low + number * step for number in range(int(count))]  # type: ignore[operator]

    raise UserError(
        f"hydra/sweeper/sampler=grid: {key} has too many values to try all: write "
        f"those to try, as in '{key}=choice(0.1, 0.2)' or '{key}=range(1, 6)', or take another "
        "sampler"
    )


def written(value: Any) -> str:
    """A value as an override writes it."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)

    try:
        read = OverridesParser.create().parse_override(f"key={value}")
        same = not read.is_sweep_override() and read.value() == value
    except HydraException:
        same = False

    return value if same else QuotedString(text=value, quote=Quote.single).with_quotes()
