"""The home folder in paths: `~` is one's own, `~name` another user's.

A shell puts it there at the beginning of a word only: not in `dataset.root=~/faces`, not in
`--out=~/report`, and never in a file.
"""

import argparse
from pathlib import Path

from mlu.system.errors import UserError

HOME = "~"


def at_home(path: str, what: str = "") -> str:
    """A path with a home folder where it begins with `~` or `~name`; any other as it is.

    Args:
        path: As it was written.
        what: Whose path it is, for the message, such as `outputs=`.

    Raises:
        UserError: Where nobody knows such a folder.
    """
    if not path.startswith(HOME):
        return path

    try:
        return str(Path(path).expanduser())
    except RuntimeError as fault:
        raise UserError(
            f"{what}{path}: there is no home folder of {path.partition('/')[0]!r}: "
            f"give the whole path, or ./{path} for what is called so"
        ) from fault


def home_path(word: str) -> Path:
    """The path that a word of a command names; for argparse, as the type of an argument."""
    try:
        return Path(at_home(word))
    except UserError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault
