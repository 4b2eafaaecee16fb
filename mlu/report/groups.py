"""Runs that belong together.

A setting holds what is compared, a group what differs in seeds alone.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlu.runs.layout import AUDITED, PLACES, UNDECISIVE, WATCHING, choice_of_step, concept_asked
from mlu.runs.read import Collection, Gap, Run
from mlu.runs.rows import DECLARED
from mlu.runs.seeds import IMAGES, KEYS, Seeds, seeds_text, spread_of

_NOT_OF_A_GROUP = (*UNDECISIVE, "seed", *KEYS, "preset")
"""Keys in which the runs of a group may differ; what a preset means stands under other keys."""
_OF_A_METHOD = ("method", "attack", "reference", "epsilon", "phi", "strength", *WATCHING)
"""Groups of keys in which the rows of one table may differ."""
METHODS = (
    *("original", "head", "retrain", "cfk", "scrub", "unsir", "salun", "finetune", "neggrad"),
    *("orthograd", "ssd", "lfssd", "jit", "boundary", "leace", "splince", "wf", "wp"),
)
"""Order of rows: the paper's, the others in between."""
REFERENCES = ("original", "retrain")

_UNKNOWN = "without their config.yaml, so that what else these runs differ in is not known"

_FOLLOWS = "${strength}"
"""In a configuration with its references, what a key has that follows the strength."""

Identity = Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """Runs of one method that differ in seeds alone, and in which attacks were made on it.

    Attributes:
        method: Its name.
        identity: Keys and values that all runs share, and those of every attack that some of them
            made.
        runs: All of them; of seeds that were run again the latest counts, number by number.
        gaps: Jobs of this kind that left nothing.
        variant: What tells it from other groups of its method in the same setting.
    """

    method: str
    identity: Identity
    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...] = ()
    variant: str = ""

    @property
    def title(self) -> str:
        return f"{self.method} {self.variant}".strip()

    @property
    def spread(self) -> str:
        """Where the spread between its runs comes from; empty where they draw everything anew."""
        return spread_of(run.seeds for run in self.runs)


@dataclass(frozen=True)
class Setting:
    """Groups that may be compared: the same data, backbone, training and labels to forget.

    Attributes:
        identity: Keys and values that all its runs share.
        groups: In the order of METHODS.
        runs: All runs of it, repeated ones included.
        distinction: What tells it from other settings with the same data, backbone and labels.
    """

    identity: Identity
    groups: tuple[Group, ...]
    runs: tuple[Run, ...]
    distinction: str = ""

    @property
    def dataset(self) -> str:
        return self.runs[0].results.run.dataset

    @property
    def backbone(self) -> str:
        return self.runs[0].results.run.backbone

    @property
    def forget(self) -> tuple[str, ...]:
        return self.runs[0].results.run.forget_label

    @property
    def requests(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each request to forget, in the order in which they came."""
        return self.runs[0].results.run.requests or (self.forget,)

    @property
    def order(self) -> str:
        """The requests in words, such as `Male, then Young + Bald`."""
        return ", then ".join(" + ".join(names) for names in self.requests)

    @property
    def single_label(self) -> bool:
        return self.runs[0].results.run.task == "singlelabel"

    @property
    def seeds(self) -> tuple[Seeds, ...]:
        return tuple(sorted({run.seeds for run in self.runs}))

    @property
    def methods(self) -> tuple[Group, ...]:
        """Its groups but for the references, which every run measures beside its method."""
        return tuple(group for group in self.groups if group.method not in REFERENCES)

    @property
    def title(self) -> str:
        forget = f"forget {self.order if len(self.requests) > 1 else ', '.join(self.forget)}"
        forget += ", which is no output" if self.runs[0].of_concept else ""
        return ", ".join(filter(None, (self.dataset, self.backbone, forget, self.distinction)))

    @property
    def budget(self) -> str:
        """Everything that its runs had to learn from: images, epochs, seeds, devices."""
        config = self.runs[0].config
        data, training = (config.get(name) or {} for name in ("dataset", "training"))

        facts = []
        if isinstance(data.get("images"), int):
            facts.append(f"{data['images']:,} images")
        if data.get("image_size"):
            facts.append(f"{data['image_size']} pixels")
        if training.get("epochs"):
            facts.append(f"{training['epochs']} epochs")

        seeds = seeds_text(self.seeds)
        facts.append(f"{seeds} ({self.spread})" if self.spread else seeds)
        facts.append(f"on {', '.join(sorted({run.device for run in self.runs}))}")
        if not config:
            facts.append(_UNKNOWN)

        return ", ".join(facts)

    @property
    def spread(self) -> str:
        """Where the spreads of its rows come from, by the rows' titles unless all say the same."""
        titles: dict[str, list[str]] = defaultdict(list)
        for group in self.groups:
            if len({run.seeds for run in group.runs}) > 1:
                titles[group.spread].append(group.title)

        if len(titles) == 1:
            return next(iter(titles))
        return "; ".join(f"{', '.join(names)}: {words}" for words, names in titles.items() if words)

    @property
    def description(self) -> str:
        return f"{self.title}; {self.budget}"


def settings_in(collection: Collection) -> list[Setting]:
    """All settings of a collection; jobs that left nothing stand in the groups they belong to."""
    together: dict[str, list[Run]] = defaultdict(list)
    for runs in of_one_kind(collection.runs):
        twins = has_twins(runs)
        for run in runs:
            together[key(shared_identity(identity_of(run, of_images=twins)))].append(run)

    places = {
        composed_key(run.composed, of_group=False): name
        for name, runs in together.items()
        for run in runs
    }
    lost: dict[str, list[Gap]] = defaultdict(list)
    for gap in collection.gaps:
        if gap.composed and (place := places.get(composed_key(gap.composed, of_group=False))):
            lost[place].append(gap)

    return distinguished([setting_of(runs, lost[place]) for place, runs in together.items()])


def of_one_kind(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs of the same configuration but for methods, attacks and seeds."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[key(shared_identity(identity_of(run, of_images=False)))].append(run)
    return list(found.values())


def has_twins(runs: Iterable[Run]) -> bool:
    """Whether one seed stands for different images, as where others were drawn once than today."""
    contents: dict[int, set[str | None]] = defaultdict(set)
    for run in runs:
        contents[run.seeds.images].add(run.results.run.data)
    return any(len(found) > 1 for found in contents.values())


def setting_of(runs: Sequence[Run], gaps: Sequence[Gap]) -> Setting:
    """One setting, its groups in order and with what tells them apart."""
    groups = grouped(runs)
    places = {
        composed_key(run.composed): number
        for number, group in enumerate(groups)
        for run in group.runs
    }
    placed = [places.get(composed_key(gap.composed)) for gap in gaps]

    lost: dict[int | None, list[Gap]] = defaultdict(list)
    for gap, place in zip(gaps, placed, strict=True):
        lost[place].append(gap)

    for number, group in enumerate(groups):
        groups[number] = replace(group, gaps=tuple(lost[number]))

    found = sorted([*varied(groups), *without_runs(lost[None], runs)], key=order)

    one_set = len({run.results.run.data for run in runs}) == 1
    identity = identity_of(runs[0], of_images=one_set)

    return Setting(shared_identity(identity), tuple(found), tuple(runs))


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Runs that share all but seeds.

    An attack that one made and another did not is no difference between models.
    """
    groups: list[Group] = []
    for run in sorted(runs, key=lambda run: (run.seeds, run.date)):
        identity = identity_of(run, of_images=False)
        for number, group in enumerate(groups):
            if agree(identity, group.identity):
                together = {**group.identity, **identity}
                groups[number] = replace(group, identity=together, runs=(*group.runs, run))
                break
        else:
            groups.append(Group(run.method, identity, (run,)))

    return groups


def agree(one: Identity, other: Identity) -> bool:
    """Whether two runs differ in nothing but seeds and attacks that only one of them made."""
    common = {attack(name) for name in one} & {attack(name) for name in other}
    for name in {*one, *other}:
        compared = attack(name) is None or attack(name) in common
        if compared and one.get(name) != other.get(name):
            return False
    return True


def attack(name: str) -> str | None:
    """Which attack a key belongs to; an empty name for the key that says there is none."""
    words = name.split(".")
    return (words[1] if len(words) > 1 else "") if words[0] == "attack" else None


def without_runs(gaps: Iterable[Gap], runs: Sequence[Run]) -> list[Group]:
    """Groups of which no job left anything, told from others of their method."""
    together: dict[str, list[Gap]] = defaultdict(list)
    for gap in gaps:
        together[composed_key(gap.composed)].append(gap)

    jobs: list[Run | Gap] = [*runs, *(found[0] for found in together.values())]
    asked = [(job.method, flattened(job.composed)) for job in jobs]

    groups = []
    for found in together.values():
        others = [identity for method, identity in asked if method == found[0].method]
        variant = difference(flattened(found[0].composed), others)
        groups.append(Group(found[0].method or "?", {}, (), tuple(found), variant))

    return groups


def identity_of(run: Run, of_images: bool) -> Identity:
    """Everything that decides a run's numbers but its seeds: dotted keys, values as JSON.

    Args:
        run: Whose.
        of_images: Whether its images count, and not only what they are drawn from.
    """
    facts = run.results.run
    # Of a run without its configuration this is all that is known.
    sure = {
        "dataset.name": facts.dataset,
        "backbone.name": facts.backbone,
        "method.name": facts.method,
        "forget_label.names": sorted(facts.forget_label),
        "data": facts.data if of_images else None,
    }
    config = {name: value for name, value in run.config.items() if name not in ("epsilon", "phi")}
    strength = strength_of(run)
    config["strength"] = int(strength) if strength.is_integer() else strength
    # What a strength has made of other keys, it says itself.
    following = set() if strength == 1 else following_strength(run.composed)
    flat = {name: value for name, value in flattened(config).items() if name not in following}

    return flat | {name: json.dumps(value) for name, value in sure.items() if value is not None}


def strength_of(run: Run) -> float:
    """Strength of a run's method, in times its default; runs before there was such a key: 1."""
    try:
        return float(run.config.get("strength", 1.0))
    except (TypeError, ValueError, OverflowError):
        return 1.0


def following_strength(composed: Mapping[str, Any]) -> set[str]:
    """Dotted keys of a configuration with its references that refer to `strength`."""
    return {name for name, value in flattened(composed).items() if _FOLLOWS in value}


def flattened(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> value as JSON, without what decides no number and without seeds."""
    flat: dict[str, str] = {}

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(inner, (*path, str(name)))
        elif decides(path):
            flat[".".join(path)] = json.dumps(value, default=str)

    # Before there was a choice the last step was kept, whoever watched.
    chosen = choice_of_step(config) or {"keep": "last"}
    chosen |= concept_asked(config)
    others = {name: one for name, one in config.items() if name not in (*WATCHING, "concept")}
    for name, value in (others | chosen).items():
        walk(value, (str(name),))

    return flat


def decides(path: Sequence[str]) -> bool:
    """Whether a key of a configuration, but a seed, may decide a number."""
    if path[0] in _NOT_OF_A_GROUP or ".".join(path) == IMAGES:
        return False
    if path[0] == "dataset" and path[-1] in PLACES:
        return False
    declares = path[0] == "attack" and len(path) > 2 and path[2] in DECLARED
    return not declares and tuple(path) != ("trainer", "workers")


def composed_key(composed: Mapping[str, Any], of_group: bool = True) -> str:
    """Identity of a configuration with its references: it can be compared with its like alone."""
    flat = flattened(composed)
    return key(flat if of_group else shared_identity(flat))


def shared_identity(identity: Identity) -> Identity:
    """The part that all rows of a table have in common."""
    return {
        name: value for name, value in identity.items() if name.split(".")[0] not in _OF_A_METHOD
    }


def key(identity: Identity) -> str:
    return json.dumps(identity, sort_keys=True)


def order(group: Group) -> tuple[int, tuple[tuple[float, str], ...]]:
    """The order of METHODS, others last; variants by their values."""
    place = METHODS.index(group.method) if group.method in METHODS else len(METHODS)
    values = (word.split("=", 1)[-1] for word in group.variant.split())
    return place, tuple(
        (float(value) if reads_as_number(value) else 0.0, value) for value in values
    )


def reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def varied(groups: Sequence[Group]) -> list[Group]:
    """Each group with what tells it from the others of its method.

    Where all others are one and the same group but for a part each, as when its parts are taken out
    one by one, that group has the method's bare name, and they have what they differ in.
    """
    named: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        named[group.method].append(group)

    found = []
    for group in groups:
        others = [other.identity for other in named[group.method]]
        base = centre_of(others)
        if group.identity is base:
            variant = ""
        else:
            variant = difference(group.identity, others if base is None else [group.identity, base])
        found.append(replace(group, variant=variant))

    return found


def centre_of(identities: Sequence[Identity]) -> Identity | None:
    """The one from which each of at least two others differs in one part; None without it.

    A part is a key of a method, or a group of keys.
    """
    if len(identities) < 3:
        return None

    centres = [
        one
        for one in identities
        if all(len(parts_apart(one, other)) == 1 for other in identities if other is not one)
    ]

    return centres[0] if len(centres) == 1 else None


def parts_apart(one: Identity, other: Identity) -> set[tuple[str, ...]]:
    """The first two words of keys that both have, with values of their own."""
    apart = [name for name in one.keys() & other.keys() if one[name] != other[name]]
    return {tuple(name.split(".")[:2]) for name in apart}


def distinguished(settings: Sequence[Setting]) -> list[Setting]:
    """Each setting with what tells it from others of the same data, backbone and requests."""
    named: dict[tuple[Any, ...], list[Setting]] = defaultdict(list)
    for setting in settings:
        named[setting.dataset, setting.backbone, setting.order].append(setting)

    return [
        replace(
            setting, distinction=difference(setting.identity, [other.identity for other in others])
        )
        for others in named.values()
        for setting in others
    ]


def difference(identity: Identity, others: Sequence[Identity]) -> str:
    """`epsilon=0.5 phi=0.1`: the keys in which some of `others` differ, with this one's values.

    A key that only some of them have, as of an attack that others did not make, tells nothing.
    """
    common = sorted(name for name in identity if not name.endswith("_target_"))
    values = {name: {other[name] for other in others if name in other} for name in common}
    different = [name for name in common if len(values[name]) > 1]
    # Other drawn images follow from another key; their fingerprint tells more than nothing alone.
    different = [name for name in different if name != "data"] or different

    return " ".join(
        f"{name.removeprefix('method.').removeprefix('dataset.')}={plain_value(identity[name])}"
        for name in different
    )


def plain_value(value: str) -> str:
    """A JSON value as one would write it on the command line."""
    return "default" if value == "null" else value.replace('"', "").replace(", ", ",")


REQUESTED = ("requests", "forget_label.names")
"""Keys that say what is to be forgotten, and in which order."""


def asked(
    table: str, settings: Iterable[Setting], fits: Callable[[Setting], bool] = lambda setting: True
) -> list[Setting]:
    """Settings of the runs that were made for a table.

    Where there are none, those whose content fits; of these rather runs of no other experiment,
    which may vary what the table does not. The paper has nothing beside an audit, which is of
    somebody else's model.
    """
    settings = [one for one in settings if {run.method for run in one.runs} != {AUDITED}]
    named = [setting for setting in settings if table in experiments(setting)]
    fitting = [setting for setting in settings if fits(setting) and setting.methods]
    free = [setting for setting in fitting if any(run.experiment is None for run in setting.runs)]
    return named or free or fitting


def experiments(found: Setting | Group) -> set[str]:
    """Names of the experiments that its runs belong to; variants of a table count as the table."""
    return {name.removesuffix("_selective") for run in found.runs if (name := run.experiment)}


def request_families(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that differ in what was asked for alone, some of them several times in turn."""
    found = families(
        asked("requests", settings, lambda setting: len(setting.requests) > 1), *REQUESTED
    )
    return [
        sorted(
            family, key=lambda setting: (len(setting.forget), -len(setting.requests), setting.order)
        )
        for family in found
        if any(len(setting.requests) > 1 for setting in family)
    ]


def families(settings: Iterable[Setting], *varies: str) -> list[list[Setting]]:
    """Settings that differ in some keys alone, together."""
    found: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        # The drawn images, and so their fingerprint, follow from the configuration.
        found[
            key(
                {
                    name: value
                    for name, value in setting.identity.items()
                    if name not in (*varies, "data")
                }
            )
        ].append(setting)

    return list(found.values())


def has_strengths(group: Group) -> bool:
    """Whether its runs have an epsilon and a phi, and left them."""
    method = (group.runs[0].config.get("method") or {}) if group.runs else {}
    return all(isinstance(method.get(name), int | float) for name in ("epsilon", "phi"))


def strengths(group: Group) -> tuple[float, float]:
    """Epsilon and phi of a group."""
    method = group.runs[0].config["method"]
    return float(method["epsilon"]), float(method["phi"])


def curves(setting: Setting) -> list[list[Group]]:
    """Groups of a setting that differ in their strength alone together, by ascending strength.

    A method that has no strength is a curve of one group.
    """
    found: dict[str, list[Group]] = defaultdict(list)
    for group in setting.methods:
        if group.runs:
            found[key(identity_of_curve(group))].append(group)

    return [
        sorted(groups, key=lambda group: strength_of(group.runs[0])) for groups in found.values()
    ]


def of_default_strength(setting: Setting) -> list[Group]:
    """One group of each curve: that of strength 1, else the weakest."""
    found = []
    for groups in curves(setting):
        default = [group for group in groups if strength_of(group.runs[0]) == 1]
        found.append((default or groups)[0])
    return found


def identity_of_curve(group: Group) -> Identity:
    """Everything that the groups of one curve have in common: of attacks, the one that reads."""
    following = {name for run in group.runs for name in following_strength(run.composed)}
    return {
        name: value
        for name, value in group.identity.items()
        if name not in (*following, "strength") and attack(name) in (None, "aia")
    }


def run_labels(run: Run) -> list[str]:
    """Names of all labels of a run, in the order of its outputs."""
    start, end = "unlearned/test/label/", "/accuracy"
    return [
        path[len(start) : -len(end)]
        for path in run.figures
        if path.startswith(start) and path.endswith(end)
    ]


def correlation_of(setting: Setting) -> float:
    value: Any = setting.identity.get("dataset.correlation", "nan")
    return float(value)
