"""Frozen dataclasses that JAX sees through."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def pytree(cls: type[T]) -> type[T]:
    """Makes a frozen dataclass all fields of which are subtrees of arrays.

    Unlike with `jax.tree_util.register_dataclass`, JAX puts values together without calling the
    constructor: what it puts in may be placeholders or arrays with further axes, which a checker
    of the annotated shapes would refuse.
    """
    frozen: Any = dataclasses.dataclass(frozen=True)(cls)
    names = [field.name for field in dataclasses.fields(frozen)]
    keys = [jax.tree_util.GetAttrKey(name) for name in names]

    def flatten(value: Any) -> tuple[list[Any], None]:
        return [getattr(value, name) for name in names], None

    def flatten_with_keys(value: Any) -> tuple[list[tuple[Any, Any]], None]:
        return [(key, getattr(value, name)) for key, name in zip(keys, names, strict=True)], None

    def unflatten(_: None, children: Any) -> Any:
        value = object.__new__(frozen)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(value, name, child)
        return value

    jax.tree_util.register_pytree_with_keys(frozen, flatten_with_keys, unflatten, flatten)
    return frozen
