"""Markdown around text that anybody may have written."""

import re


def escaped_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line.

    >>> escaped_markdown("a|b")
    'a\\\\|b'
    """
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))
