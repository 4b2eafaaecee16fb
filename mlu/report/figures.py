"""Pictures of one run."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mlu.contracts import Histograms

COLOURS = {"original": "#4c72b0", "retrain": "#55a868", "unlearned": "#c44e52"}


def entropy_picture(histograms: Histograms, path: Path) -> None:
    """Entropy of the retained outputs, one panel for each split, one line for each model (paper, Figure 3).

    Args:
        histograms: `<model>/<split>/entropy/histogram` -> counts and edges, of the logarithm of the entropy in nats.
        path: PNG file to write.
    """
    splits = list(dict.fromkeys(key.split("/")[1] for key in histograms))
    figure = Figure(figsize=(4 * len(splits), 3.2), layout="constrained")
    for axes, split in zip(figure.subplots(1, len(splits), sharey=True, squeeze=False)[0], splits, strict=True):
        for model, colour in COLOURS.items():
            if f"{model}/{split}/entropy/histogram" in histograms:
                counts, edges = histograms[f"{model}/{split}/entropy/histogram"]
                density = counts / (counts.sum() * np.diff(edges))
                axes.stairs(
                    density,
                    edges,
                    label=model,
                    color=colour,
                    fill=model == "original",
                    alpha=0.35 if model == "original" else 1,
                    linewidth=1.5,
                )
        axes.set(title=split, xlabel="log entropy of the retained outputs (nats)")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("density")
    figure.axes[-1].legend(frameon=False)
    figure.savefig(path, dpi=120)
