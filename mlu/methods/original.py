from dataclasses import dataclass

from mlu.contracts import Method


@dataclass(frozen=True, kw_only=True)
class Original(Method):
    """Forgets nothing: the original as it is, the row that every other one is read against."""

    name: str
