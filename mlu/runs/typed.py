"""Dataclasses as plain JSON and back, by the types of their fields."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def as_json(value: Any) -> Any:
    """The value as JSON has it: a dataclass is a dict of its fields in their order."""
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value


def field_types(kind: Any) -> Mapping[str, Any]:
    """Name of each field of a dataclass -> its type."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def can_be(value: Any, kind: Any) -> bool:
    """Whether plain JSON can be read as a type.

    Args:
        value: Of JSON; a field of a dataclass that is not there counts as None.
        kind: str, int, float, bool, None, a dataclass, or a union, tuple or mapping of such.
    """
    inner = get_args(kind)
    if isinstance(kind, UnionType):
        return any(can_be(value, one) for one in inner)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(can_be(part, inner[0]) for part in value)
    if get_origin(kind) is Mapping:
        return isinstance(value, dict) and all(can_be(part, inner[1]) for part in value.values())
    if is_dataclass(kind):
        parts = field_types(kind).items()
        return isinstance(value, dict) and all(can_be(value.get(name), one) for name, one in parts)

    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)

    return isinstance(value, int | float if kind is float else kind)


def typed(value: Any, kind: Any) -> Any:
    """The value of a type that plain JSON stands for; fields that there are not are left out.

    Args:
        value: Of JSON, that `can_be` the type.
        kind: The type.
    """
    inner = get_args(kind)
    if isinstance(kind, UnionType):
        return typed(value, next(one for one in inner if can_be(value, one)))
    if get_origin(kind) is tuple:
        return tuple(typed(part, inner[0]) for part in value)
    if get_origin(kind) is Mapping:
        return {name: typed(part, inner[1]) for name, part in value.items()}
    if not is_dataclass(kind):
        return value

    parts: dict[str, Any] = {}
    for name, one in field_types(kind).items():
        parts[name] = typed(value.get(name), one)

    build: Any = kind

    return build(**parts)
