"""What a cell of a label table says. Nothing is imported for it: configurations are checked with it."""

TRUTH = {"true": "1", "false": "0"}
"""Booleans as text."""


def plain(value: str | float) -> str:
    """A cell in one spelling: `1`, `1.0`, ` 1` and `True` are the same."""
    text = str(value).strip()
    text = TRUTH.get(text.lower(), text)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
