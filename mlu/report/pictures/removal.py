"""A picture of what the retained labels lose where training images were removed."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure as Canvas

from mlu.report.groups import Group, Setting
from mlu.report.pictures.base import (
    HUES,
    INK,
    KEPT,
    MARKERS,
    Picture,
    embedded,
    rate,
    series,
    share,
)
from mlu.runs.style import tidy

_METHOD = "removal"
_ORIGINAL = KEPT.replace("unlearned", "original")
_NAMES = {"influential": "most influential first", "random": "drawn at random"}


def without_images(setting: Setting) -> Picture | None:
    """Retained accuracy by the share of images removed, a line for each way to choose them."""
    lines = lines_of_removal(setting)
    if not lines:
        return None

    canvas = Canvas(figsize=(6.4, 3.6), layout="constrained")
    axes = canvas.subplots()
    before = rate(setting.runs, _ORIGINAL)
    if before.value is not None:
        axes.axhline(100 * before.value, color=INK, linewidth=0.8, linestyle=":", label="original")

    for number, (select, groups) in enumerate(lines.items()):
        found = [(100 * removed_share(group), rate(group.runs, KEPT)) for group in groups]
        series(axes, found, _NAMES.get(select, select), HUES[number], MARKERS[number])

    axes.set_ylabel("retained accuracy, test (%)")
    axes.legend(frameon=False, fontsize="small")
    tidy(axes, "training images removed (%)", "")

    return embedded(
        canvas,
        "What removing images costs",
        "Retained accuracy by the share of training images removed: "
        f"{'; '.join(said_of_removal(lines))}.",
        "All labels are trained anew on the images that are left. Bars are 95 % intervals.",
    )


def lines_of_removal(setting: Setting) -> dict[str, list[Group]]:
    """Groups by the way in which their images were chosen, by ascending share."""
    lines: dict[str, list[Group]] = defaultdict(list)
    for group in setting.methods:
        select = json.loads(group.identity.get("method.select", "null"))
        if group.method == _METHOD and group.runs and isinstance(select, str):
            lines[select].append(group)
    return {select: sorted(groups, key=removed_share) for select, groups in lines.items()}


def removed_share(group: Group) -> float:
    """Share of the training images that its runs did without."""
    return float(group.identity.get("method.share", "nan"))


def said_of_removal(lines: dict[str, list[Group]]) -> Iterator[str]:
    """The numbers of each line in words, for who cannot see them."""
    for select, groups in lines.items():
        yield f"{_NAMES.get(select, select)} {', '.join(points_in_words(groups))}"


def points_in_words(groups: Sequence[Group]) -> Iterator[str]:
    """Accuracy and share of each group, in percent."""
    for group in groups:
        kept = share(rate(group.runs, KEPT))
        yield f"{kept} without {100 * removed_share(group):g}"
