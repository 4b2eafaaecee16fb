import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mlu.attacks.contract import Canaries, Shadows, ShadowsWanted
from mlu.attacks.membership import MembershipInference
from mlu.attacks.shadow import FEW, Evaluated, ShadowModels, evaluated, offline, online, trial
from mlu.metrics import trials
from mlu.metrics.findings import NO_REFERENCE
from mlu.metrics.trials import FALSE_POSITIVE_RATES, TRIAL_METRICS
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.pipeline.shadows import halves
from tests.support.victims import REQUEST, outputs, victim_of

law = settings(deadline=None, derandomize=True, max_examples=25)
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)
SPLITS = ("train", "validation", "test")
PATHS = [
    f"{name}{end}"
    for end in ("", "/forgotten")
    for name in ("lira", "lira/offline", "ulira", "rmia")
]
LABELS = 3


def attack(count=6, gamma=1.0, a=0.3):
    return ShadowModels(shadows=count, gamma=gamma, a=a, jobs=1)


relative = attack().relative
SCORES = {"online": online, "offline": offline, "rmia": relative}


def gaussian(seed, count=6, images=40, others=30, labels=2, delta=1.0, spread=1.0):
    """Confidences N(mean of the image and label + delta where learnt from, spread^2).

    The first half is learnt from.
    """
    random = np.random.default_rng(seed)
    mean, member = random.normal(size=(images, labels)), np.arange(images) < images // 2
    inside, strange = halves(np.arange(images), count, seed), random.normal(size=(others, labels))
    return Evaluated(
        mean + spread * (delta * member[:, None] + random.normal(size=(images, labels))),
        mean + spread * (delta * inside[:, :, None] + random.normal(size=(count, images, labels))),
        inside,
        strange + random.normal(size=(others, labels)),
        strange + random.normal(size=(count, others, labels)),
    )


def plain_lira(seen, shared, known):
    """Carlini et al. (2022), one label and image at a time.

    Log likelihood ratio, and one-sided z-score.
    """
    ratio, z_score = np.zeros((2, len(seen.own)))
    for label in range(seen.own.shape[1]):
        images = np.flatnonzero(known[:, label])
        groups = {
            (x, side): seen.shadows[seen.inside[:, x] == side, x, label]
            for x in images
            for side in (0, 1)
        }
        variance = {
            case: group.var(ddof=1) if len(group) > 1 else np.nan for case, group in groups.items()
        }
        if shared:
            for side in (0, 1):
                own = [groups[x, side] for x in images]
                squares = sum(((group - group.mean()) ** 2).sum() for group in own)
                variance |= {
                    (x, side): squares / sum(len(group) - 1 for group in own) for x in images
                }

        for x in images:
            not_learnt, learnt = (
                norm(groups[x, side].mean(), math.sqrt(variance[x, side])) for side in (0, 1)
            )
            ratio[x] += learnt.logpdf(seen.own[x, label]) - not_learnt.logpdf(seen.own[x, label])
            z_score[x] += (seen.own[x, label] - not_learnt.mean()) / not_learnt.std()

    return {online: ratio, offline: z_score}


def everything(seen):
    return np.ones(seen.own.shape, bool), np.ones(seen.own_others.shape, bool)


@pytest.mark.parametrize("count", [4, 2 * FEW - 2, 2 * FEW, 2 * FEW + 6])
@pytest.mark.parametrize("name", ["online", "offline"])
def test_lira_is_its_published_formula(name, count):
    seen = gaussian(0, count, images=12, spread=np.linspace(0.5, 2, 24).reshape(12, 2))
    plain = plain_lira(seen, count < 2 * FEW, everything(seen)[0])[SCORES[name]]
    np.testing.assert_allclose(SCORES[name](seen), plain, rtol=1e-9, atol=1e-9)


@law
@given(st.integers(0, 999), st.floats(0.01, 100))
def test_lira_knows_no_unit_and_no_origin(seed, scale):
    """Nor how easy an image is."""
    seen = gaussian(seed)
    shift = 10 * np.random.default_rng(seed).normal(size=seen.own.shape)
    moved = replace(seen, own=scale * (seen.own + shift), shadows=scale * (seen.shadows + shift))
    for score in (online, offline):
        np.testing.assert_allclose(score(moved), score(seen), rtol=1e-7, atol=1e-7)


def area_of(seen, score):
    return roc_auc_score(np.arange(len(seen.own)) < len(seen.own) // 2, score(seen))


def spread_of(area, half):
    """Standard error of an AUROC (Hanley and McNeil, 1982)."""
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    return math.sqrt((area * (1 - area) + (half - 1) * (one + other - 2 * area**2)) / half**2)


@pytest.mark.parametrize(("delta", "labels"), [(0.5, 1), (1.5, 1), (0.5, 4)])
def test_with_many_shadow_models_lira_tells_members_as_well_as_can_be_and_with_few_worse(
    delta, labels
):
    """The optimum is Neyman and Pearson's, who know every mean.

    Offline, half of the shadow models know it with an error of variance 2 / count, which adds to
    that of the output.
    """
    best = norm.cdf(delta * math.sqrt(labels / 2))
    error = 3 * spread_of(best, 2000)
    worlds = {count: gaussian(1, count, 4000, 1, labels, delta) for count in (4, 16, 256)}
    found = {count: area_of(seen, online) for count, seen in worlds.items()}
    assert found[4] < best - error
    assert abs(found[256] - best) < error
    assert max(found.values()) < best + error
    for count, seen in worlds.items():
        limit = norm.cdf(delta * math.sqrt(labels / 2 / (1 + 2 / count)))
        assert abs(area_of(seen, offline) - limit) < 3 * spread_of(limit, 2000)


def null_spread(half):
    """Exact standard deviation of the AUROC of scores that know nothing."""
    return math.sqrt((2 * half + 1) / (12 * half**2))


def plain_rmia(seen, gamma, a, known, known_others):
    """Zarifzadeh et al. (2024), offline: share of others z with ratio_x / ratio_z >= gamma."""

    def ratio(own, reference, told):
        p, *others = (
            math.prod(1 / (1 + math.exp(-c)) for c in row[told]) for row in (own, *reference)
        )
        return p / (((1 + a) * np.mean(others) + 1 - a) / 2)

    population = [
        ratio(own, seen.shadows_others[:, z], known_others[z])
        for z, own in enumerate(seen.own_others)
    ]
    asked = [
        ratio(own, seen.shadows[~seen.inside[:, x], x], known[x]) for x, own in enumerate(seen.own)
    ]

    return [np.mean([x / z >= gamma for z in population]) for x in asked]


@pytest.mark.parametrize(("gamma", "a"), [(1.0, 0.3), (2.0, 0.0), (0.7, 1.0), (1.2, 0.5)])
def test_rmia_is_its_published_formula(gamma, a):
    for seen in (gaussian(2, 4), gaussian(2, 8)):
        plain = plain_rmia(seen, gamma, a, *everything(seen))
        np.testing.assert_allclose(attack(gamma=gamma, a=a).relative(seen), plain, atol=1e-12)


def odds(*probs):
    return np.log(np.array(probs) / (1 - np.array(probs)))


@pytest.mark.parametrize(("gamma", "share"), [(0.6, 1.0), (1.0, 0.5), (1.69, 0.5), (1.7, 0.0)])
def test_rmia_of_two_validation_images_by_hand(gamma, share):
    """Gain 0.8 / 0.55 = 1.4545.

    Validation images gain 0.6 / 0.7 = 0.8571 and 0.9 / 0.4 = 2.25; a = 0.5.
    """
    seen = Evaluated(
        odds(0.8)[:, None],
        odds(0.99, 0.5, 0.3)[:, None, None],
        np.array([[True], [False], [False]]),
        odds(0.6, 0.9)[:, None],
        odds(*3 * [0.6], 0.1, 0.2, 0.3).reshape(2, 3).T[:, :, None],
    )
    assert attack(gamma=gamma, a=0.5).relative(seen).tolist() == [share]


def with_constant(seen, label, value):
    parts = {
        name: getattr(seen, name).copy()
        for name in ("own", "shadows", "own_others", "shadows_others")
    }
    for part in parts.values():
        part[..., label] = value
    return replace(seen, **parts)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [0.0, -1.3862943611, 40.0, -1e4])
@pytest.mark.parametrize("count", [6, 2 * FEW])
def test_a_constant_output_says_nothing(value, count):
    seen = gaussian(3, count)
    rest = replace(seen, own=seen.own[:, 1:], shadows=seen.shadows[:, :, 1:])
    quiet = with_constant(seen, 0, value)
    moved = replace(quiet, own=quiet.own + np.array([1.0, 0.0]))
    for score in (online, offline):
        np.testing.assert_allclose(score(quiet), score(rest), rtol=1e-12)
        np.testing.assert_allclose(score(moved), score(rest), rtol=1e-12)
        assert (score(with_constant(quiet, 1, value)) == 0).all()

    for a in (0.0, 0.3, 1.0):
        silent = attack(a=a).relative(with_constant(quiet, 1, value))
        assert np.isfinite(silent).all()
        assert len(set(silent)) == 1


@pytest.mark.parametrize("count", [6, 2 * FEW])
def test_an_output_that_varies_by_rounding_alone_says_nothing(count):
    seen = gaussian(3, count)
    rest = replace(seen, own=seen.own[:, 1:], shadows=seen.shadows[:, :, 1:])
    for still in (seen.inside, ~seen.inside, np.ones_like(seen.inside)):
        shadows = seen.shadows.copy()
        shadows[:, :, 0] = np.where(still, 1 + 1e-9 * shadows[:, :, 0], shadows[:, :, 0])
        quiet = replace(seen, shadows=shadows)
        np.testing.assert_allclose(online(quiet), online(rest), rtol=1e-12)
        if (still | seen.inside).all():
            np.testing.assert_allclose(offline(quiet), offline(rest), rtol=1e-12)


def shadows_of(victim, count, delta=0.0, seed=0):
    """Normal log odds of what is true, higher by `delta` where learnt from, as in `world`."""
    random = np.random.default_rng([seed, count])
    pool = ("train", "test") if victim.canaries is None else ("train",)
    sizes = [len(victim.outputs[name]) for name in pool]
    inside = halves(np.arange(sum(sizes)), count, seed)
    learnt = dict(zip(pool, np.split(inside, np.cumsum(sizes)[:-1], 1), strict=True))
    logits = {}
    for name, part in victim.outputs.items():
        above = delta * learnt[name][:, :, None] if name in learnt else 0.0
        confidences = above + random.normal(size=(count, *part.targets.shape))
        logits[name] = torch.from_numpy(confidences) * sign_of(part.targets, victim.task)

    return Shadows(inside, logits)


def sign_of(targets, task):
    return 2 * targets.double() - 1 if task.name == "multilabel" else targets.double()


def world(task=None, sizes=(40, 20, 40), delta=0.0, count=6, seed=0, known=None, **fields):
    """A victim among plain and matched shadow models, surer by `delta` of what it learnt."""
    task, draw, parts = task or MultiLabel(), torch.Generator().manual_seed(seed), {}
    for name, images in zip(SPLITS, sizes, strict=True):
        targets = torch.rand(images, LABELS, generator=draw).argsort(1) == 0
        if task.name == "multilabel":
            targets = torch.rand(images, LABELS, generator=draw) < 0.5
        noise = torch.randn(images, LABELS, generator=draw, dtype=torch.float64)
        logits = (noise + delta * (name == "train")) * sign_of(targets, task)
        parts[name] = outputs(
            targets.float(), logits, known=None if known is None else known(images, draw)
        )

    victim = victim_of(parts, task, **fields)
    plain, matched = (shadows_of(victim, count, delta, 2 * seed + of) for of in (0, 1))

    return replace(victim, shadows=plain, matched=matched)


def observe(victim):
    return attack().observe(victim)


def auroc(found):
    return roc_auc_score(found.truth, found.scores)


@by_task
def test_what_shadow_models_were_surer_of_is_found_and_pool_and_truth_are_the_splits(task):
    victim = world(task, delta=3.0)
    persons = np.r_[victim.outputs["train"].identities, victim.outputs["test"].identities]
    of_class = (
        torch.cat([victim.outputs[name].targets[:, 0] for name in ("train", "test")]).numpy() > 0
    )

    for path, found in observe(victim).items():
        # Of a class only its own images can say whether it was learnt from.
        rows = (
            of_class if path.endswith("/forgotten") and task.name == "singlelabel" else slice(None)
        )
        assert np.array_equal(found.truth, (np.arange(80) < 40)[rows])
        assert np.array_equal(found.persons, persons[rows])
        assert auroc(found) > 0.5 + 3 * null_spread(found.truth.sum()), path


REPEATS = 250


def as_often_as_promised(hits, repeats=REPEATS):
    """Whether so many of so many 95 % intervals may hold the truth by chance."""
    return binom.ppf(5e-5, repeats, 0.95) <= hits <= binom.ppf(1 - 5e-5, repeats, 0.95)


def ignorant(seed, per_person=1, delta=0.0, strange=False):
    """80 images of whose training a victim says nothing, among 8 shadow models that say `delta`.

    What is random of a person's images is half the person's. To a `strange` victim images are not
    as hard as to shadow models.
    """
    random = np.random.default_rng(1000 + seed)
    seen = gaussian(seed, 8, images=80, delta=delta)
    person = np.arange(80) // per_person
    seen = replace(seen, inside=halves(person, 8, seed))
    mean = 0 if strange else seen.shadows.mean(0) - delta / 2
    noise = random.normal(size=(9, 80, 2)) + random.normal(size=(9, 80, 2))[:, person]
    learnt = delta * seen.inside[:, :, None]
    return replace(
        seen,
        own=mean + noise[0] / math.sqrt(2),
        shadows=seen.shadows.mean(0) - delta / 2 + learnt + noise[1:] / math.sqrt(2),
    )


def of_people(victim, per_person):
    """The victim with so many images of each person."""
    parts, start = {}, 0
    for name, part in victim.outputs.items():
        parts[name] = replace(part, identities=start + np.arange(len(part)) // per_person)
        start += len(part)
    return replace(victim, outputs=parts)


def held(found):
    """Whether the intervals of a trial hold one half."""
    drawn = trials.bootstrapped(found)
    ends = [trials.percentile_interval(one) for one in (drawn.balanced_accuracy, drawn.auroc)]
    return np.array([low <= 0.5 <= high for low, high in ends])


NULLS = {
    "one image each": {},
    "two images each": {"per_person": 2},
    "shadows that know": {"delta": 1.0},
    "another network": {"strange": True},
}


@pytest.mark.parametrize(
    ("name", "null"),
    [*((name, "one image each") for name in SCORES), *(("rmia", null) for null in list(NULLS)[1:])],
)
def test_shadow_models_that_know_nothing_have_an_interval_around_one_half_as_often_as_it_promises(
    name, null, monkeypatch
):
    monkeypatch.setattr(trials, "RESAMPLES", 300)
    trials.drawn_people.cache_clear()
    fields = NULLS[null]
    victim = of_people(world(), fields.get("per_person", 1))
    hits = np.zeros(2)
    for seed in range(REPEATS):
        hits += held(trial(victim, range(LABELS), ignorant(seed, **fields), SCORES[name]))
    trials.drawn_people.cache_clear()
    assert all(map(as_often_as_promised, hits)), hits / REPEATS


def test_a_threshold_that_is_chosen_on_the_judged_people_would_be_noticed(monkeypatch):
    monkeypatch.setattr(trials, "RESAMPLES", 300)
    trials.drawn_people.cache_clear()
    victim, hits = world(), np.zeros(2)
    for seed in range(REPEATS):
        found = trial(victim, range(LABELS), ignorant(seed), relative)
        own = found.scores - trials.best_threshold(found.scores, found.truth)
        hits += held(replace(found, scores=own))
    trials.drawn_people.cache_clear()
    balanced, area = hits
    assert not as_often_as_promised(balanced)
    assert as_often_as_promised(area)


def best_cut(scores, truth):
    """Halfway between the two scores between which a cut has the best balanced accuracy."""
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(np.unique(scores)[::-1])]
    return max(cuts, key=lambda cut: balanced_accuracy_score(truth, scores > cut))


@pytest.mark.parametrize("name", SCORES)
def test_the_threshold_is_where_shadow_models_are_told_apart_best_each_by_the_others(name):
    score, seen, victim = SCORES[name], gaussian(4, images=80, delta=2.0), world()
    said = [score(seen.as_if(number)) for number in range(len(seen.shadows))]
    said, truth = np.concatenate(said), np.concatenate(seen.inside)
    # The second says something else, of which the threshold knows nothing.
    other = replace(seen, own=-3 * seen.own, own_others=seen.own_others + 1)
    cuts = [score(one) - trial(victim, range(LABELS), one, score).scores for one in (seen, other)]
    np.testing.assert_allclose(np.concatenate(cuts), cuts[0][0], atol=1e-9)
    best = balanced_accuracy_score(truth, said > best_cut(said, truth))
    assert balanced_accuracy_score(truth, said > cuts[0][0]) == pytest.approx(best)


def test_a_shadow_model_under_attack_is_not_among_the_attackers():
    seen, names = gaussian(0), ("shadows", "inside", "shadows_others")

    for number in range(6):
        as_victim = seen.as_if(number)
        assert np.array_equal(as_victim.own, seen.shadows[number])
        assert np.array_equal(as_victim.own_others, seen.shadows_others[number])
        left = [
            row for row in range(6) if (as_victim.shadows == seen.shadows[row]).all((1, 2)).any()
        ]
        assert number not in left
        assert len(left) >= 4
        assert all(
            np.array_equal(getattr(as_victim, name), getattr(seen, name)[left]) for name in names
        )


@law
@given(st.integers(0, 999), st.sampled_from([4, 6, 10]))
def test_in_the_place_of_a_shadow_model_each_image_has_as_many_that_learnt_from_it_as_did_not(
    seed, count
):
    seen = gaussian(seed, count)
    assert np.array_equal(seen.learnt, seen.inside)
    assert np.array_equal(seen.not_learnt, ~seen.inside)
    for number in range(count):
        one = seen.as_if(number)
        assert (one.learnt.sum(0) == count // 2 - 1).all()
        assert (one.not_learnt.sum(0) == count // 2 - 1).all()
        assert not (one.learnt & ~one.inside).any()
        assert not (one.not_learnt & one.inside).any()


@pytest.mark.parametrize(
    ("count", "delta"), [(6, 0.0), (2 * FEW - 2, 1.0), (2 * FEW, 1.0), (2 * FEW + 2, 1.0)]
)
@pytest.mark.parametrize("name", SCORES)
def test_shadow_models_are_told_apart_as_well_as_the_model_under_attack(name, count, delta):
    """Else a threshold that is best for them is not for it.

    Each image has as many on both sides, judged alike.
    """
    images = 6000
    spread = (
        np.random.default_rng(0).permutation(np.geomspace(0.1, 10, images))[:, None]
        if delta
        else 1.0
    )
    seen = gaussian(6, count, images, 50, 1, delta, spread)
    said = np.concatenate([SCORES[name](seen.as_if(number)) for number in range(count)])
    rehearsed = roc_auc_score(np.concatenate(seen.inside), said)

    # The rehearsals' own error is no larger: they are several of every image.
    assert abs(rehearsed - area_of(seen, SCORES[name])) < 3 * math.sqrt(2) * null_spread(
        images // 2
    )


@pytest.mark.parametrize("count", [8, 2 * FEW, 2 * FEW + 8])
def test_at_its_threshold_lira_errs_as_little_as_it_can(count):
    """Scores of the model under attack and of those that set the threshold are alike."""
    images = 2000
    found = trial(
        world(sizes=(images // 2, 1, images // 2)),
        range(LABELS),
        gaussian(5, count, images, 1, 1, 2.0),
        online,
    )
    area, rate = auroc(found), balanced_accuracy_score(found.truth, found.scores > 0)
    optimum = norm.cdf(norm.ppf(area) / math.sqrt(2))
    assert abs(rate - optimum) < 3 * math.sqrt(rate * (1 - rate) / images)


def masked(share):
    return lambda images, draw: torch.rand(images, LABELS, generator=draw) >= share


def test_unknown_targets_are_not_read():
    victim = world(delta=1.0, known=masked(0.3))
    upset = {name: torch.where(part.known, 0.0, 5.0) for name, part in victim.outputs.items()}
    parts = {
        name: replace(part, logits=part.logits + upset[name])
        for name, part in victim.outputs.items()
    }
    plain = victim.shadows
    shadows = replace(
        plain, logits={name: logits + upset[name] for name, logits in plain.logits.items()}
    )
    other = replace(victim, outputs=parts, shadows=shadows)
    before, after = observe(victim), observe(other)

    for path in PATHS:
        np.testing.assert_array_equal(before[path].scores, after[path].scores)


@pytest.mark.parametrize("count", [6, 2 * FEW])
@pytest.mark.parametrize("name", SCORES)
def test_an_unknown_target_counts_for_nothing(name, count):
    """Neither in a sum or product over labels, in a variance nor in a validation image's gain."""
    victim = world(delta=1.0, count=count, known=masked(0.3))
    parts = {
        name: replace(part, known=torch.ones_like(part.known))
        for name, part in victim.outputs.items()
    }
    part, whole = (
        evaluated(one, victim.shadows, range(LABELS))
        for one in (victim, replace(victim, outputs=parts))
    )
    known = {name: part.known.numpy() for name, part in victim.outputs.items()}
    asked = np.concatenate([known["train"], known["test"]])
    if name == "rmia":
        plain = plain_rmia(whole, 1.0, 0.3, asked, known["validation"])
    else:
        plain = plain_lira(whole, count < 2 * FEW, asked)[SCORES[name]]

    np.testing.assert_allclose(SCORES[name](part), plain, rtol=1e-9, atol=1e-9)


def louder(victim, columns, *which):
    """Other logits of those labels.

    Of the victim's own outputs, or of its `shadows` or `matched` ones.
    """

    def loud(logits, name):
        change = torch.randn(
            logits.shape[-2:],
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(len(name)),
        )
        logits = logits.clone()
        logits[..., columns] = (3 * logits + change)[..., columns] ** 3
        return logits

    fields = {}
    for one in which:
        if one == "outputs":
            fields[one] = {
                name: replace(part, logits=loud(part.logits, name))
                for name, part in victim.outputs.items()
            }
        else:
            said = getattr(victim, one)
            logits = {name: loud(logits, name) for name, logits in said.logits.items()}
            fields[one] = replace(said, logits=logits)

    return replace(victim, **fields)


def differing(before, after):
    return {path for path in PATHS if not np.array_equal(before[path].scores, after[path].scores)}


def test_the_forgotten_figures_see_forgotten_outputs_alone():
    victim = world(delta=1.0, request=replace(REQUEST, forgotten=(1,), retained=(0, 2)))
    before, which = observe(victim), ("outputs", "shadows", "matched")
    assert differing(before, observe(louder(victim, [0, 2], *which))) == {
        path for path in PATHS if "/for" not in path
    }
    assert differing(before, observe(louder(victim, [1], *which))) == set(PATHS)


def test_lira_asks_plain_shadow_models_and_the_others_matched_ones():
    victim = world(delta=1.0)
    before, every = observe(victim), list(range(LABELS))
    plain = {path for path in PATHS if path.startswith("lira")}
    assert differing(before, observe(louder(victim, every, "shadows"))) == plain
    assert differing(before, observe(louder(victim, every, "matched"))) == set(PATHS) - plain
    same = observe(replace(victim, matched=victim.shadows))
    assert all(
        np.array_equal(same[f"ulira{end}"].scores, same[f"lira{end}"].scores)
        for end in ("", "/forgotten")
    )


def test_it_needs_as_many_shadow_models_and_jobs_as_it_is_told():
    assert ShadowModels(shadows=6, gamma=1.0, a=0.3, jobs=2).needs() == ShadowsWanted(6, 2)
    assert MembershipInference().needs() is None


def test_of_a_class_the_log_odds_of_the_true_one_against_all_others_count():
    victim = world(SingleLabel(), delta=1.0)
    seen = evaluated(victim, victim.shadows, range(LABELS))
    assert seen.shadows.shape == (6, 80, 1)
    for name, own in (
        ("train", seen.own[:40]),
        ("test", seen.own[40:]),
        ("validation", seen.own_others),
    ):
        part = victim.outputs[name]
        probs = part.logits.softmax(1)[part.targets > 0]
        np.testing.assert_allclose(own[:, 0], torch.logit(probs), rtol=1e-9)

    probs = victim.shadows.logits["test"].softmax(2)[:, victim.outputs["test"].targets > 0]
    np.testing.assert_allclose(seen.shadows[:, 40:, 0], torch.logit(probs), rtol=1e-9)


def test_with_canaries_it_asks_which_training_images_targets_were_learnt():
    supervised = np.random.default_rng(0).random(60) < 0.5
    canaries = Canaries(supervised, np.zeros(60, bool))
    victim = world(sizes=(60, 20, 5), canaries=canaries)
    sure = (
        4
        * torch.from_numpy(supervised)[:, None]
        * sign_of(victim.outputs["train"].targets, victim.task)
    )
    learnt = replace(victim.outputs["train"], logits=victim.outputs["train"].logits + sure)
    shadows = shadows_of(victim, 6, delta=4.0)
    asked = replace(
        victim,
        outputs=victim.outputs | {"train": learnt},
        shadows=shadows,
        matched=shadows,
    )

    for found in observe(asked).values():
        assert np.array_equal(found.truth, supervised)
        assert np.array_equal(found.persons, victim.outputs["train"].identities)
        assert auroc(found) > 0.5 + 3 * null_spread(30)


@pytest.mark.parametrize("name", SCORES)
def test_targets_that_were_turned_round_are_not_asked_about_and_set_no_threshold(name):
    canaries = Canaries(np.arange(60) < 30, np.arange(60) % 3 == 0)
    victim, seen = (
        world(sizes=(60, 20, 5), canaries=canaries),
        gaussian(7, 2 * FEW, images=60, delta=2.0),
    )
    own, shadows = (
        np.where(canaries.flipped[:, None], -(said**3), said) for said in (seen.own, seen.shadows)
    )
    other = replace(seen, own=own, shadows=shadows)
    plain, turned = (trial(victim, range(LABELS), one, SCORES[name]) for one in (seen, other))

    assert np.array_equal(plain.truth, canaries.supervised[~canaries.flipped])
    assert np.array_equal(plain.persons, victim.outputs["train"].identities[~canaries.flipped])
    np.testing.assert_array_equal(plain.scores, turned.scores)


def test_every_path_has_every_figure_and_nothing_over_itself():
    evidence = observe(world())
    assert list(evidence) == PATHS
    ends = [*TRIAL_METRICS, *(f"tpr_at_fpr_{rate:g}" for rate in FALSE_POSITIVE_RATES)]
    assert {finding.path for finding in attack().conclude(evidence)} == {
        f"{p}/{end}" for p in PATHS for end in ends
    }
    assert [finding.value for finding in attack().compare(evidence, evidence)] == [0.0] * len(PATHS)
    assert {finding.missing for finding in attack().compare(evidence, None)} == {NO_REFERENCE}
