"""Cues: each label has its own, and none tells Male alone."""

import math

import torch
from scipy.stats import norm

from mlu.data.labels import PAPER
from mlu.data.sets.faces.traits import CUES, PERSON_TRAITS, SCENE_TRAITS
from tests.support.drawn_faces import cast_of, look


def test_no_single_cue_tells_male():
    cues = {trait: cue for trait, cue in CUES.items() if cue.label == "Male"}
    apart = {trait: abs(cue.with_ - cue.without) / cue.spread for trait, cue in cues.items()}
    together = norm.sf(math.hypot(*apart.values()) / 2)
    # The best single cue errs many times as often as all of them together, and even these err.
    assert min(norm.sf(distance / 2) for distance in apart.values()) > 10 * together > 0


def test_labels_change_only_their_own_cues(faces):
    people = cast_of(faces)
    labels = people.labels[people.identities[:24]]
    before = look(people, labels)
    for column, label in enumerate(PAPER):
        flipped = labels.copy()
        flipped[:, column] ^= 1
        after = look(people, flipped)
        changed = {trait for trait in CUES if not torch.equal(before[trait], after[trait])}
        assert changed == {trait for trait, cue in CUES.items() if cue.label == label}
        assert all(
            torch.equal(before[trait], after[trait]) for trait in (*PERSON_TRAITS, *SCENE_TRAITS)
        )
