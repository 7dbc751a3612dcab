"""Config files and command-line overrides in, checked `Settings` out, and back to a file.

A config file is Python with a `get_config()` that returns an `ml_collections.ConfigDict` of what
differs from the defaults in `xcot_jax.settings`, or a `config.json` that an earlier run saved. As
with `ml_collections.config_flags`, what follows a colon is given to `get_config`: `FILE.py:v5e-64`
asks for the variant "v5e-64", a key of the file's table `VARIANTS`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import json
import math
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections

from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, any_path, write_whole
from xcot_jax.settings import Settings


class ConfigError(InputError):
    """A setting that does not exist, has the wrong type, or is out of range."""


def load(path: str | AnyPath | None, overrides: Mapping[str, str] | None = None) -> Settings:
    """Reads a config file and applies overrides.

    Args:
      path: a Python file with `get_config()`, perhaps with ":" and a variant, or a saved
        `config.json`; None for the defaults.
      overrides: dotted key -> text, as given by `--config.key=text`; they beat the file. Steps
        alone beat its epochs.

    Raises:
      ConfigError: naming the key, the file and the way out.
    """
    where = "the defaults" if path is None else str(path)
    flat: dict[str, Any] = {}
    for key, value in _flatten(_read(str(path)) if path else {}):
        flat[key] = _checked(key, value, where)
    for key, text in (overrides or {}).items():
        flat[key] = _checked(key, _parse(key, text, where), f"{where}, on the command line")
        if key == "train.steps" and "train.epochs" not in (overrides or {}):
            flat.pop("train.epochs", None)
    return _build(Settings, flat, "")


def save(settings: Settings, path: AnyPath) -> None:
    """Writes the resolved settings as JSON; `load` reads them back to an equal value."""
    text = json.dumps(dataclasses.asdict(settings), indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text)


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Turns `--config.key=value` arguments into a mapping.

    Raises:
      ConfigError: for an argument of another form.
    """
    overrides = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--config.").partition("=")
        if not argument.startswith("--config.") or not equals:
            raise ConfigError(
                f"{argument}: not an option; settings are given as --config.KEY=VALUE"
            )
        overrides[key] = value
    return overrides


def describe() -> str:
    """A listing of every setting with its type, default and meaning."""
    lines = []
    for key, field in _leaves(Settings, ""):
        allowed = _allowed(field)
        default = field.default if field.default != () else "none"
        lines.append(f"  {key} = {_show(default)}{f'  [{allowed}]' if allowed else ''}")
        lines.append(f"      {field.metadata['meaning']}")
    return "\n".join(lines)


def differences(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that differ: dotted key -> (old value, new value)."""
    old_flat = dict(_flatten(dataclasses.asdict(old)))
    new_flat = dict(_flatten(dataclasses.asdict(new)))
    return {k: (old_flat[k], v) for k, v in new_flat.items() if old_flat[k] != v}


def _read(name: str) -> Mapping[str, Any]:
    file, _, variant = name.partition(".py:")
    path = any_path(f"{file}.py" if variant else name)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise ConfigError(f"--config={path}: no such file{hint}")
    if path.suffix == ".json":
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}: not valid JSON: {error}") from error
        if not isinstance(saved, Mapping):
            raise ConfigError(f"{path}: holds a {type(saved).__name__}, not settings by name")
        return saved
    module = python_file(path)
    config = module.get_config(*_variant(module, path, variant))
    if isinstance(config, ml_collections.ConfigDict):
        return config.to_dict()
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"{path}: get_config() returned {type(config).__name__}, not a ConfigDict"
        )
    return config


def python_file(path: AnyPath) -> ModuleType:
    """The module of a config file.

    Raises:
      ConfigError: if it is no Python file, or has no `get_config`.
    """
    spec = importlib.util.spec_from_file_location("xcot_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config={path}: not a .py or .json file")
    module = importlib.util.module_from_spec(spec)
    # As for a script: configs may build on their neighbours, and on those a folder above.
    above = [str(path.parent), str(path.parent.parent)]
    sys.path[:0] = above
    try:
        spec.loader.exec_module(module)
    finally:
        for directory in above:
            sys.path.remove(directory)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path}: has no get_config() that returns a ConfigDict")
    return module


def _variant(module: ModuleType, path: Path, variant: str) -> tuple[str, ...]:
    """The arguments of `get_config`: the variant, if one is asked for and there is such a one."""
    if not variant:
        return ()
    known = getattr(module, "VARIANTS", {})
    if not known:
        raise ConfigError(
            f"{path}:{variant}: this file has no variants (VARIANTS); drop :{variant}"
        )
    if variant not in known:
        near = difflib.get_close_matches(variant, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{path} has no variant {variant!r}, but {', '.join(known)}{hint}")
    return (variant,)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _leaves(cls: type, prefix: str) -> Iterator[tuple[str, dataclasses.Field]]:
    for field in dataclasses.fields(cls):
        if field.metadata:
            yield prefix + field.name, field
        else:
            yield from _leaves(typing.cast(type, field.default_factory), f"{prefix}{field.name}.")


_FIELDS = dict(_leaves(Settings, ""))


def _field(key: str, where: str) -> dataclasses.Field:
    if key not in _FIELDS:
        if any(known.startswith(key + ".") for known in _FIELDS):
            inside = ", ".join(k for k in _FIELDS if k.startswith(key + "."))
            raise ConfigError(f"{where}: {key} is a group of settings, not one; it has {inside}")
        near = difflib.get_close_matches(key, _FIELDS, n=1, cutoff=0.5)
        if not near:  # A right name in a wrong section: compare last parts only.
            last = {k.rpartition(".")[2]: k for k in _FIELDS}
            found = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.5)
            near = [last[name] for name in found]
        hint = f"; did you mean {near[0]}?" if near else "; xcot train --help lists them all"
        raise ConfigError(f"{where}: {key} is not a setting{hint}")
    return _FIELDS[key]


def _parse(key: str, text: str, where: str) -> Any:
    kind = _field(key, f"{where}, on the command line").type
    if kind == "str":
        return text
    if kind == "tuple[str, ...]" and not text.lstrip().startswith(("(", "[")):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


_KINDS = {"str": str, "int": int, "float": float, "bool": bool, "tuple[str, ...]": tuple}


def _checked(key: str, value: Any, where: str) -> Any:
    """The value in the field's type, or a ConfigError."""
    field = _field(key, where)
    kind = str(field.type)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "tuple[str, ...]" and isinstance(value, list | tuple):
        value = tuple(value)
        fits = all(isinstance(part, str) for part in value)
    else:
        fits = isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        raise ConfigError(f"{where}: {key} = {value!r} is {type(value).__name__}, not {kind}")
    low, high, choices = (field.metadata[name] for name in ("low", "high", "choices"))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    inside = (low is None or value >= low) and (high is None or value <= high)
    if number and not (inside and math.isfinite(value)):
        raise ConfigError(f"{where}: {key} = {value!r} is out of range ({_allowed(field)})")
    if value == () and not field.metadata["empty"]:
        raise ConfigError(f"{where}: {key} is empty; give at least one, separated by commas")
    if choices is not None:
        for part in value if isinstance(value, tuple) else (value,):
            if part not in choices:
                near = difflib.get_close_matches(part, choices, n=1, cutoff=0.0)
                raise ConfigError(
                    f"{where}: {key} = {part!r} is not one of {', '.join(choices)}; "
                    f"did you mean {near[0]!r}?"
                )
    return value


def _allowed(field: dataclasses.Field) -> str:
    low, high, choices = (field.metadata[name] for name in ("low", "high", "choices"))
    if choices is not None:
        return ", ".join(choices)
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else ""


def _show(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else json.dumps(value)


def _build(cls: type, flat: Mapping[str, Any], prefix: str) -> Any:
    values = {}
    for field in dataclasses.fields(cls):
        key = prefix + field.name
        if not field.metadata:
            values[field.name] = _build(typing.cast(type, field.default_factory), flat, key + ".")
        elif key in flat:
            values[field.name] = flat[key]
    return cls(**values)
