"""Paths that are one file: in which of its spellings it lies in the folder, and which are links."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlu.data.files import NO_FILE, OUTWARD, file_state
from mlu.data.spelling import path_spellings, plain_path, plain_paths

NO_STATE = (NO_FILE,) * 4
"""State of a file that is not there."""


def paths_of_files(folder: Path, paths: Sequence[str]) -> Sequence[str]:
    """Each path as its file in the folder is spelt; the same sequence where all are plain.

    One by whose spellings there is no file is spelt plainly.
    """
    plain = plain_paths(paths)
    if plain is paths:
        return paths
    return [path_of_file(folder, path, one) for path, one in zip(paths, plain, strict=True)]


def path_of_file(folder: Path, path: str, plain: str) -> str:
    """The first of the spellings of a path, of which one is `plain`, by which there is a file."""
    if OUTWARD.search(plain):
        return path if OUTWARD.search(path) else plain
    if path == plain and (path.isascii() or os.path.exists(f"{folder}/{path}")):  # noqa: PTH110
        return path

    for spelling in path_spellings(path):
        if spelling and os.path.exists(f"{folder}/{spelling}"):  # noqa: PTH110, as in ImageFiles
            return spelling

    return plain or path


def named_rows(
    folder: Path, paths: Sequence[str], state: np.ndarray, lines: Iterable[str]
) -> tuple[np.ndarray, set[str]]:
    """The rows that some lines name, in any spelling of a path or as a link to its file.

    Args:
        folder: That paths are relative to.
        paths: Of all rows.
        state: Of their files, as `ImageFiles.state` gives it.
        lines: Paths.

    Returns:
        Whether each row is named, bool, shape (rows,), and the lines that name none.
    """
    names = {line: plain_path(line) for line in lines}
    plain, listed = plain_paths(paths), set(names.values())
    found = np.fromiter((path in listed for path in plain), bool, len(paths))

    missed = listed.difference(plain)
    unknown = [line for line, name in names.items() if name in missed]
    linked = {line: file_state(str(folder / line)) for line in unknown}
    files = {state_of_row(row) for row in state[found]} | set(linked.values())
    files.discard(NO_STATE)

    numbers = np.array([facts[-1] for facts in files], np.int64)
    for row in np.flatnonzero(np.isin(state[:, -1], numbers)):
        found[row] |= state_of_row(state[row]) in files

    met = {state_of_row(row) for row in state[found]} - {NO_STATE}

    return found, {line for line, facts in linked.items() if facts not in met}


def state_of_row(row: np.ndarray) -> tuple[int, ...]:
    return tuple(row.tolist())


def equal_files(state: np.ndarray) -> np.ndarray:
    """Pairs of rows whose files are one and the same.

    Args:
        state: Of the files, as `ImageFiles.state` gives it.

    Returns:
        Numbers of rows, ascending in each pair, shape (pairs, 2).
    """
    # A file system without numbers says 0; size and time guard against one that gives a number
    # twice.
    order = np.lexsort((state[:, 2], state[:, 3]))
    order = order[state[order, -1] > 0]
    same = (state[order[1:]] == state[order[:-1]]).all(1)

    return np.sort(np.stack([order[:-1][same], order[1:][same]], 1), 1)
