"""python -m mlu.predict RUN IMAGE...: what an unlearned model says of images."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mlu.runs.tables import show_table, text_of
from mlu.system.errors import Arguments, UserError, stop
from mlu.system.interruption import interruptible
from mlu.system.process import tune_process
from mlu.system.terminal import tolerant_streams

if TYPE_CHECKING:
    from torch import Tensor

FORGOTTEN = "forgotten"
ABREAST = 4
"""Images side by side in a table."""


@interruptible()
def main(words: Sequence[str] | None = None) -> None:
    """Entry point; ends with exit code 2 and one line where something cannot be read."""
    tolerant_streams()
    given = predict_arguments().parse_args(words)
    tune_process()
    from mlu.runs.model import load  # here: --help needs no torch

    try:
        model = load(given.run)
        said = model.predict(given.images)
    except UserError as fault:
        stop(str(fault))

    if given.json:
        json.dump(plain_predictions(given.images, said, model.forgotten), sys.stdout, indent=1)
        print()
    else:
        for table in tables(given.images, said, model.forgotten):
            show_table(table)


def predict_arguments() -> Arguments:
    parser = Arguments(
        "python -m mlu.predict", description="What an unlearned model says of images."
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as outputs/runs/<time>")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def plain_predictions(
    images: Sequence[str], said: Mapping[str, "Tensor"], forgotten: Sequence[str]
) -> list[dict[str, str | dict[str, float] | list[str]]]:
    """For machines: of each image the probability of each label that was not forgotten."""
    kept = {label: probs for label, probs in said.items() if label not in forgotten}
    return [
        {
            "image": image,
            "probabilities": {label: probs[row].item() for label, probs in kept.items()},
            FORGOTTEN: list(forgotten),
        }
        for row, image in enumerate(images)
    ]


def tables(
    images: Sequence[str], said: Mapping[str, "Tensor"], forgotten: Sequence[str]
) -> Iterator[Table]:
    """One row for each label, one column for each image, ABREAST of them at most."""
    for start in range(0, len(images), ABREAST):
        result = Table(title="probability of each label", title_justify="left")
        result.add_column("label")
        for image in images[start : start + ABREAST]:
            result.add_column(text_of(image), justify="right", overflow="fold")

        for label, probs in said.items():
            chosen = probs[start : start + ABREAST].tolist()
            cells = [
                f"[dim]{FORGOTTEN}[/]" if label in forgotten else f"{prob:.3f}" for prob in chosen
            ]
            result.add_row(text_of(label), *cells)

        yield result


if __name__ == "__main__":
    main()
