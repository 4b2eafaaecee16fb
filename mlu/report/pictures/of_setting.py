"""All pictures of one setting."""

from collections.abc import Iterator

import matplotlib as mpl

from mlu.report.groups import Setting
from mlu.report.pictures.base import STYLE, Picture
from mlu.report.pictures.costs import run_time
from mlu.report.pictures.curves import entropy_picture, rates
from mlu.report.pictures.durability import excess_after_release
from mlu.report.pictures.forget_set import shared_choices
from mlu.report.pictures.forgetting import spill_over, trade_off
from mlu.report.pictures.importance import worth_of_weights
from mlu.report.pictures.removal import without_images
from mlu.report.pictures.strengths import response_picture
from mlu.report.pictures.trace import forgetting_picture

_PICTURES = (
    trade_off,
    spill_over,
    forgetting_picture,
    excess_after_release,
    worth_of_weights,
    shared_choices,
    without_images,
    run_time,
    entropy_picture,
    rates,
    response_picture,
)


def pictures_of(setting: Setting) -> Iterator[Picture]:
    """The pictures for which a setting's runs left something."""
    with mpl.rc_context(STYLE):
        for draw in _PICTURES:
            picture = draw(setting)
            if picture is not None:
                yield picture
