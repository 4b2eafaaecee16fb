"""The answers of a network to every image of a run."""

from collections.abc import Sequence

from torch import Tensor

from mlu.data.split import Split, people_drawn
from mlu.models.network import Network
from mlu.models.outputs import Answers, Outputs, outputs_of, respond, respond_by_stage
from mlu.pipeline.context import Context
from mlu.system.errors import UserError

EXPOSED = ("validation", "test")
"""Splits of which the output of every stage is kept: an attacker learns and is judged on them."""

EXPOSED_IMAGES = 20_000
"""Of each of them at most; people are drawn where there are more. A resnet50 gives 48 KB each."""


def outputs_by_split(
    context: Context, net: Network, remedy: str, exposed: Sequence[str] = EXPOSED
) -> dict[str, Outputs]:
    """The answers of a network to every image, by split.

    Args:
        context: Of the run; the network is moved to its device.
        net: In evaluation mode.
        remedy: What to do where it says nothing finite.
        exposed: Splits of which the output of every stage is given.

    Raises:
        UserError: If a logit is not finite, with the remedy.
    """
    net.to(context.device)
    outputs = {}
    for name, split in context.data.splits.items():
        traced = None
        if name in exposed:
            traced = exposed_rows(split, context)
            said = respond_by_stage(net, split, traced)
        else:
            said = Answers(respond(net, split)[0])

        if not said.logits.isfinite().all():
            raise UserError(f"the model's outputs are not finite; {remedy}")

        outputs[name] = outputs_of(split, said, traced)

    return outputs


def exposed_rows(split: Split, context: Context) -> Tensor | None:
    """Images of an exposed split whose stages are kept, ascending; None for all."""
    if len(split) <= EXPOSED_IMAGES:
        return None
    return people_drawn(split.identities, [EXPOSED_IMAGES], context.experiment.seeds.split)[0]
