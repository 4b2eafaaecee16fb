"""Names of labels, and the spelling of a cell of a label table.

Nothing heavy is imported: configurations are checked with it.
"""

from collections.abc import Sequence

from mlu.data.spelling import same_name
from mlu.system.errors import UserError, did_you_mean

CELEBA = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
    Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
    Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
    Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
    Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie
    Young""".split()  # noqa: SIM905
)
"""CelebA's 40 attributes, in the order of its label file."""

PAPER = (
    "Arched_Eyebrows", "Bald", "Big_Lips", "Brown_Hair", "Double_Chin",
    "Male", "No_Beard", "Oval_Face", "Pointy_Nose", "Young",
)  # fmt: skip
"""The ten attributes of the paper (Section 7.1) by CelebA's names."""

MAAD = tuple(
    """Male Young Middle_Aged Senior Asian White Black Rosy_Cheeks Shiny_Skin Bald Wavy_Hair
    Receding_Hairline Bangs Sideburns Black_Hair Blond_Hair Brown_Hair Gray_Hair No_Beard Mustache
    5_o_Clock_Shadow Goatee Oval_Face Square_Face Round_Face Double_Chin High_Cheekbones Chubby
    Obstructed_Forehead Fully_Visible_Forehead Brown_Eyes Bags_Under_Eyes Bushy_Eyebrows
    Arched_Eyebrows Mouth_Closed Smiling Big_Lips Big_Nose Pointy_Nose Heavy_Makeup Wearing_Hat
    Wearing_Earrings Wearing_Necktie Wearing_Lipstick No_Eyewear Eyeglasses
    Attractive""".split()  # noqa: SIM905
)
"""MAAD-Face's 47 attributes, in the order of its table.

What CelebA has too goes by the same name in both.
"""

ALIASES = {"Gender": "Male", "Young_Old": "Young"}
"""The paper's names for two of CelebA's."""

TRUTH = {"true": "1", "false": "0"}
"""Booleans as text."""


def resolve_label(name: str, labels: Sequence[str], dataset: str) -> str:
    """A label by its own name or by the paper's, in either direction.

    Args:
        name: As the user spells it; `same_name` says which spellings are one.
        labels: All labels of the data set.
        dataset: Its name, for messages.

    Raises:
        UserError: With the nearest name, if the data set has no such label.

    Example:
        >>> resolve_label("Gender", ["Bald", "Male"], "celeba")
        'Male'
        >>> resolve_label("Male", ["Bald", "Gender"], "mine")
        'Gender'
        >>> resolve_label("Blad", ["Bald", "Male"], "toy")
        Traceback (most recent call last):
        mlu.system.errors.UserError: toy has no label 'Blad', did you mean 'Bald'? It has Bald, Male
    """
    spellings = [name, ALIASES.get(name, name)]
    spellings += [paper for paper, own in ALIASES.items() if own == name]
    for spelling in spellings:
        if spelling in labels:
            return spelling

    plain = same_name(name)
    for label in labels:
        if same_name(label) == plain:
            return label

    if plain != name:
        return resolve_label(plain, labels, dataset)

    papers = [paper for paper, own in ALIASES.items() if own in labels]
    hint = did_you_mean(name, [*labels, *papers])
    raise UserError(f"{dataset} has no label {name!r}{hint or '.'} It has {', '.join(labels)}")


def chosen_labels(dataset: str, labels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The labels to learn, by the data set's own names.

    Args:
        dataset: Name of the data set, for messages.
        labels: As configured; the paper's names are accepted.
        known: All that the data set has.

    Raises:
        UserError: If one is unknown or doubled, or none is given.

    Example:
        >>> chosen_labels("celeba", ["Gender", "Young"], CELEBA)
        ('Male', 'Young')
    """
    found = tuple(resolve_label(label, known, dataset) for label in labels)
    twice = [label for label in found if found.count(label) > 1]
    if twice or not found:
        fault = f"has {twice[0]!r} twice" if twice else "is empty"
        raise UserError(f"dataset.labels of {dataset} {fault}: name each label once")

    return found


def forgotten_labels(names: Sequence[str], labels: Sequence[str], dataset: str) -> tuple[str, ...]:
    """The labels to forget, by the data set's own names, each once.

    Args:
        names: As the user spells them.
        labels: All labels of the data set.
        dataset: Its name, for messages.

    Raises:
        UserError: If one is unknown, or none would be left to retain.
    """
    found = tuple(dict.fromkeys(resolve_label(name, labels, dataset) for name in names))
    if len(found) == len(labels):
        raise UserError(
            f"forget_label.names names all {len(labels)} labels of {dataset}: "
            "leave at least one to retain"
        )
    return found


def plain_cell(value: str | float) -> str:
    """A cell of a label table in one spelling.

    Example:
        >>> {plain_cell(cell) for cell in (1, 1.0, " 1", "1.0", "1,0", True, "TRUE")}
        {'1'}
        >>> plain_cell(" yes ")
        'yes'
    """
    text = same_name(str(value))
    text = TRUTH.get(text.lower(), text)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
