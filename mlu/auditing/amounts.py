"""Numbers, such as years, read from what models show: the strongest reader's R^2 and rank."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from mlu.attacks.parts.cases import Cases, Side, held_out
from mlu.auditing.exhibits import Exhibit
from mlu.auditing.population import JUDGED, LEARNT, Population
from mlu.data.split import people_drawn
from mlu.metrics.amounts import Estimate, amount_findings
from mlu.metrics.findings import Finding, part_of_path
from mlu.models.outputs import Outputs

AMOUNT = "amount"
"""First part of the paths of what is read of numbers, after the model's."""

FEWEST = 20
"""Images with a number, on either side, that it takes to read one."""

PLACES = ("outputs", "features")
TOLD = "retained_labels"
"""What is read without any model."""

TOO_FEW = f"fewer than {FEWEST} validation or test images have a number"

Regressor = Callable[[], Pipeline]


def regressors(seed: int) -> dict[str, Regressor]:
    """The readers of numbers, by name, on standardised inputs."""

    def ridge() -> Pipeline:
        return Pipeline([("scale", StandardScaler()), ("tell", Ridge(alpha=10.0))])

    def trees() -> Pipeline:
        tell = HistGradientBoostingRegressor(
            max_leaf_nodes=8, max_bins=32, early_stopping=False, random_state=seed
        )
        return Pipeline([("tell", tell)])

    return {"": ridge, "trees": trees}


def amounts_findings(
    population: Population, exhibits: Mapping[str, Exhibit], seed: int, most: int
) -> Iterator[Finding]:
    """`<model>/amount/<column>/<place>/<metric>` of every model, and `proxy/amount/<column>/...`.

    Args:
        population: With the numbers.
        exhibits: The models, by what figures call them.
        seed: Of the people that are held out to choose a reader, and of trees.
        most: Images to learn from at most.
    """
    for name in population.amounts:
        told = {split: truths(population, split) for split in (LEARNT, JUDGED)}
        found = estimate_of(population, name, TOLD, told, seed, most)
        yield from told_findings(f"proxy/{AMOUNT}/{part_of_path(name)}", found)

        for model, exhibit in exhibits.items():
            for place in PLACES:
                seen = {split: view(exhibit.own[split], place) for split in (LEARNT, JUDGED)}
                found = estimate_of(population, name, place, seen, seed, most)
                path = f"{model}/{AMOUNT}/{part_of_path(name)}/{place}"
                yield from told_findings(path, found)


def told_findings(path: str, found: tuple[str, Estimate] | str) -> Iterator[Finding]:
    """Figures of an estimate, with the reader that gave it."""
    if isinstance(found, str):
        yield from amount_findings(path, found)
        return

    reader, estimate = found
    for one in amount_findings(path, estimate):
        yield replace(one, chosen={"reader": reader or "ridge regression"})


def view(outputs: Outputs, place: str) -> np.ndarray:
    """Numbers that the attacker sees of each image, float64, shape (images, numbers)."""
    stages = list(outputs.stages.values())
    seen = outputs.logits if place == "outputs" else stages[-1]
    found: np.ndarray = seen.double().numpy()
    return found


def truths(population: Population, split: str) -> np.ndarray:
    """The true labels of the outputs, float64, shape (images, labels); unknown ones halfway."""
    own = population.own_split(split)
    found: np.ndarray = own.targets.double().where(own.known, 0.5).numpy()
    return found


def estimate_of(
    population: Population,
    name: str,
    place: str,
    seen: Mapping[str, np.ndarray],
    seed: int,
    most: int,
) -> tuple[str, Estimate] | str:
    """The strongest reader of a column of numbers and its estimates, or why there is none.

    It is chosen by its R^2 on a quarter of the attacker's own people, held out from it.
    """
    column, amounts = population.columns.index(name), population.amounts[name]
    sides = {}
    for split in (LEARNT, JUDGED):
        images = population.splits[split]
        numbers = amounts[images.rows][:, None]
        sides[split] = Side(images, {place: seen[split], AMOUNT: numbers}).cases(column)

    learnt, asked = sides[LEARNT], sides[JUDGED]
    if min(len(learnt.truth), len(asked.truth)) < FEWEST:
        return TOO_FEW

    (rows,) = people_drawn(learnt.persons, [most], seed)
    learnt = learnt.subset(rows.numpy())
    readers = regressors(seed)
    best = next(iter(readers))
    if (divided := held_out(learnt, seed)) is not None:
        fit, kept = (learnt.subset(part) for part in divided)
        scores = {
            reader: r2_score(kept.seen[AMOUNT][:, 0], regressed(make, place, fit, kept))
            for reader, make in readers.items()
        }
        best = max(scores, key=scores.__getitem__)

    values = regressed(readers[best], place, learnt, asked)

    return best, Estimate(values, asked.seen[AMOUNT][:, 0], asked.persons)


def regressed(make: Regressor, place: str, fit: Cases, asked: Cases) -> np.ndarray:
    """The numbers that a reader says of images after it has learnt from others, shape (images,)."""
    reader = make()
    reader.fit(fit.seen[place], fit.seen[AMOUNT][:, 0])
    values: np.ndarray = np.asarray(reader.predict(asked.seen[place]), np.float64)
    return values
