"""One module a paper: its network, what it learns from, what it minimises, its official names."""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, cast

import flax.linen as nn

from jaxmatte.errors import UserError
from jaxmatte.papers.contract import PaperModule


def names() -> tuple[str, ...]:
    """The papers there are, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != "contract"))


def module(name: str) -> PaperModule:
    """The module of a paper, by its name."""
    if name not in names():
        raise UserError(_unknown("paper", name, names()))
    return cast(PaperModule, importlib.import_module(f"{__name__}.{name}"))


def module_of(model: nn.Module) -> PaperModule:
    """The paper that a model is of."""
    return module(type(model).__module__.removeprefix(f"{__name__}.").partition(".")[0])


def build(name: str, **model_config: Any) -> nn.Module:
    """The paper's `Model` with the fields of `model_config`."""
    model = module(name).Model
    _require_fields(name, model, model_config)
    return model(**model_config)


def changed(model: nn.Module, name: str, fields: Mapping[str, Any]) -> nn.Module:
    """The model of the paper `name` with other values of `fields`, such as one to evaluate by."""
    _require_fields(name, type(model), fields)
    return model.clone(**fields) if fields else model


def _require_fields(name: str, model: type[nn.Module], wanted: Iterable[str]) -> None:
    fields = [f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name")]
    for field in wanted:
        if field not in fields:
            raise UserError(_unknown(f"field of {name}'s model", field, fields))


def _unknown(kind: str, name: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no {kind} is called {name!r}: {hint}There are {', '.join(known)}"
