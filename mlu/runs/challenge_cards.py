"""The cards of a challenge: its own, and those of the models that it gives."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlu.runs.card import card_text, file_lines, general_front
from mlu.runs.challenge import ORIGINALS, RETRAINS, SUBMISSIONS, ChallengeFacts, title_of_challenge
from mlu.runs.markdown import escaped_markdown
from mlu.runs.ratings import RANKING_COLUMNS, in_order, ranking_cells, rules_of_ranking

_LOADING = """\
from mlu.challenge import replicates_of

for replicate in replicates_of("."):  # this folder
    net, train = replicate.original(), replicate.splits["train"]
    batch = train[range(64)]  # batch.images, uint8, and batch.targets, 0 or 1 of each label
    ...  # your method
    replicate.save(net, "submissions/mine")
"""
_KNOWS = {
    ORIGINALS: "They know all labels, and are what a submission starts from",
    RETRAINS: "They never saw the label to forget, and are the mark that submissions are held "
    "against; to start from them, or to hand them in, is no unlearning",
}


def challenge_card(facts: ChallengeFacts) -> str:
    """The content of `README.md` of a challenge."""
    return card_text(general_front(), challenge_paragraphs(facts))


def challenge_paragraphs(facts: ChallengeFacts) -> Iterator[str]:
    """The text of that card, part by part."""
    forgotten, count = labels_said(facts, "forget_label.names"), len(facts.replicates)
    limit = float(facts.settings["policy.max_excess"])  # type: ignore[arg-type]

    yield f"# {escaped_markdown(title_of_challenge(facts))}"
    yield (
        f"{count} classifiers of drawn faces ({setting_text(facts, 'dataset.images')} images of "
        f"{setting_text(facts, 'dataset.image_size')} pixels each, nobody's photographs) that were "
        f"trained on {labels_said(facts, 'dataset.labels')}. Make each forget **{forgotten}** and "
        "keep the others. Whoever can run mlu can judge what comes out."
    )

    yield "## Load it"
    yield f"```python\n{_LOADING}```"
    yield "The data are drawn anew by these seeds:"
    yield "\n".join(["| replicate | `seed` | `dataset.seed` |", "|---|---|---|", *seed_rows(facts)])

    yield "## Hand in"
    files = ", ".join(f"`{one.file}`" for one in facts.replicates)
    yield (
        f"A folder with {files}: weights by the names and in the shapes of those in `{ORIGINALS}`, "
        f"as safetensors; in `{SUBMISSIONS}/NAME`, or anywhere. A file `about.yaml` may say "
        "`method` (its name), and for one replicate `seconds` and `image_passes`."
    )
    yield "```bash\npython -m mlu.audit challenge=DIR submission=FOLDER\n```"

    yield "## What is judged"
    yield "\n\n".join(rules_of_ranking(facts.limits, count, limit))

    yield "## What is known"
    yield "\n".join(markdown_ranking(facts))


def seed_rows(facts: ChallengeFacts) -> list[str]:
    return [f"| {one.number} | {one.seed} | {one.images} |" for one in facts.replicates]


def markdown_ranking(facts: ChallengeFacts) -> Iterator[str]:
    """The table of our methods, line by line."""
    yield f"| {' | '.join(RANKING_COLUMNS)} |"
    yield f"|{'---|' * len(RANKING_COLUMNS)}"
    for placed in in_order(facts.ours):
        yield f"| {' | '.join(map(escaped_markdown, ranking_cells(placed)))} |"


def models_card(facts: ChallengeFacts, kind: str, files: Mapping[str, str]) -> str:
    """The content of `README.md` of the models of one kind.

    Args:
        facts: Of the challenge.
        kind: ORIGINALS or RETRAINS.
        files: SHA-256 of each file, by name.
    """
    title = f"{kind.capitalize()} models of a challenge to forget"
    front: dict[str, Any] = general_front()

    parts = [
        f"# {title} {labels_said(facts, 'forget_label.names')}",
        f"Classifiers of drawn faces ({setting_text(facts, 'backbone')}), one of each replicate, "
        f"with an output for each of {labels_said(facts, 'dataset.labels')}, in this order. "
        f"{_KNOWS[kind]}.",
        "They take RGB images in [0, 1] and are of drawn faces alone: of photographs they say "
        "nothing.",
        "## Files",
        file_lines(files),
    ]

    return card_text(front, parts)


def labels_said(facts: ChallengeFacts, key: str) -> str:
    """The labels of a setting, one after the other."""
    value = facts.settings[key]
    names = value if isinstance(value, tuple) else (str(value),)
    return escaped_markdown(", ".join(names))


def setting_text(facts: ChallengeFacts, key: str) -> str:
    """The value of a setting as text."""
    value = facts.settings[key]
    return f"{value:,}" if isinstance(value, int) else escaped_markdown(str(value))
