"""Names of weights: those of whoever made or saved a network, by ours."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from mlu.models.network import Renames
from mlu.system.errors import UserError

log = logging.getLogger(__name__)

WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What torch.compile and the like put into names, at whatever place."""

PREFIXES = ("module", "net", "model", "backbone", "network")
"""How a module around a network calls it, where none of the names that follow is known."""

_DEEPEST = 6
"""How many modules may stand around a network, one in the other."""
_NAMED = 3
"""Weights that are named at most, of those that are left out."""


@dataclass(frozen=True)
class Interpretation:
    """One way to read a state dict: without the names of some modules around the network.

    Attributes:
        prefix: Those names, such as `module.model.`; empty for a state dict as it is.
        state: By our names.
        left: Names that stand beside the network, and are left out.
        found: Which of its weights are the network's.
    """

    prefix: str
    state: Mapping[str, Tensor]
    left: tuple[str, ...]
    found: frozenset[str]

    def is_same(self, other: "Interpretation") -> bool:
        """Whether both give the network the same tensors."""
        return self.found == other.found and all(
            self.state[name] is other.state[name] for name in self.found
        )


def our_names(
    state: Mapping[str, Tensor], renames: Renames, own: Collection[str] = ()
) -> dict[str, Tensor]:
    """A state dict by our names.

    It is ours, of whoever made the architecture, or of a module around one of these, such as
    `module._orig_mod.model.`. A prefix is taken off where more than half of the network's names
    stand behind it, and fewer are there with it; what then stands beside the network, such as the
    weights of a loss, is left out.

    Args:
        state: By any names.
        renames: From theirs to ours.
        own: The network's names; where they are not given, all below `body` and `head`.

    Raises:
        UserError: If two networks stand in it.
    """
    state = unwrapped(state)
    ways = list(ways_to_read(state, renames, frozenset(own), "", ()))
    plain, most = ways[0], max(len(way.found) for way in ways)
    if len(plain.found) == most and (most or not own):
        best = plain
    elif most > len(own) / 2:
        fullest = [way for way in ways if len(way.found) == most]
        best = min(fullest, key=lambda way: len(way.state))
        refuse_two(best, fullest)
    else:
        return renamed(without_common_prefix(state), renames)

    if best.left:
        names = ", ".join(best.left[:_NAMED])
        more = len(best.left) - _NAMED
        rest = f" and {more} more" if more > 0 else ""
        log.info("weights that are none of the network's: %s%s", names, rest)

    return dict(best.state)


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what torch.compile has put into its names."""
    found = {WRAPPERS.sub("", name): value for name, value in state.items()}
    return found if len(found) == len(state) else dict(state)


def ways_to_read(
    state: Mapping[str, Tensor],
    renames: Renames,
    own: frozenset[str],
    prefix: str,
    left: tuple[str, ...],
) -> Iterator[Interpretation]:
    """The ways to read a state dict, the plainest first."""
    ours = renamed(state, renames)
    found = frozenset(name for name in ours if is_own(name, own))
    yield Interpretation(prefix, ours, left, found)
    if prefix.count(".") == _DEEPEST:
        return

    for first in firsts(state, len(own or state) / 2):
        inside = {name.removeprefix(first): state[name] for name in state if name.startswith(first)}
        beside = {name: value for name, value in state.items() if not name.startswith(first)}
        further = prefix + first
        yield from ways_to_read(inside, renames, own, further, (*left, *beside))
        if beside and not beside.keys() & inside.keys():
            yield from ways_to_read(beside | inside, renames, own, further, left)


def is_own(name: str, own: frozenset[str]) -> bool:
    return name in own if own else name.startswith(("body.", "head."))


def firsts(state: Mapping[str, Tensor], fewest: float) -> list[str]:
    """First parts of names, such as `module.`, that more than so many have."""
    counts: dict[str, int] = {}
    for name in state:
        first, dot, rest = name.partition(".")
        if dot and rest:
            counts[first + dot] = counts.get(first + dot, 0) + 1
    return [first for first, count in counts.items() if count > fewest]


def renamed(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    """A state dict with its maker's names in place of ours."""
    found = {}
    for name, value in state.items():
        for theirs, ours in renames:
            name = re.sub(theirs, ours, name)
        found[name] = value
    return found


def without_common_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of unknown names, without what any module around a network may be called."""
    found = dict(state)
    while found:
        first = next(iter(found)).partition(".")[0]
        prefix = f"{first}."
        if first not in PREFIXES or not all(name.startswith(prefix) for name in found):
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def refuse_two(best: Interpretation, others: list[Interpretation]) -> None:
    """Raise UserError where another way gives the network other tensors."""
    further = [other for other in others if not other.is_same(best)]
    if further:
        other = min(further, key=lambda way: len(way.prefix))
        raise UserError(
            f"there are two networks among the weights, below {best.prefix!r} and below "
            f"{other.prefix!r}: save the state dict of the one that is meant"
        )
