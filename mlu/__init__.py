"""A trained image classifier forgets one label, and attackers say what is left of it."""

from mlu.system.start import hear_module_start

# Python imports this before it has found the module of `python -m mlu.doctor` and its like.
hear_module_start()

TYPE_CHECKING = False
"""As of `typing`, which takes as long as all of this."""

if TYPE_CHECKING:
    from mlu.library import forget
    from mlu.runs.model import load

__all__ = ["forget", "load"]

HOMES = {"forget": "mlu.library", "load": "mlu.runs.model"}


def __getattr__(name: str) -> object:
    """The library's two functions, imported when they are first asked for.

    They need torch, which takes seconds.
    """
    if name not in HOMES:
        raise AttributeError(f"module 'mlu' has no attribute {name!r}")

    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
