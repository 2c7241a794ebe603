"""What the group `evaluation` of a configuration says of each set; what all evaluators share."""

import difflib
import functools
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxmatte import inference
from jaxmatte.engine.parallel import is_main
from jaxmatte.errors import UserError

Item = TypeVar("Item")

KINDS = ("mattes", "classes")
_OF_ALL_SETS = ("every", "sets", "checkpoint")  # what cannot differ from set to set
_AT_LEAST_ONE = ("batch", "pictures")


def of_sets(evaluation: ConfigDict) -> dict[str, ConfigDict]:
    """The group as it is for each of its `sets`, by name; without any, the group itself as "".

    Args:
        evaluation: The group.

    Raises:
        UserError: where a set's name is no file name, or a field is none or has another type.
    """
    if not evaluation.sets:
        return {"": _checked(evaluation, "evaluation")}
    return {
        name: _checked(_of_set(evaluation, name, changes), f"evaluation.sets.{name}")
        for name, changes in evaluation.sets.items()
    }


def _of_set(evaluation: ConfigDict, name: str, changes: object) -> ConfigDict:
    where = f"evaluation.sets.{name}"
    if not re.fullmatch(r"[\w-]+", str(name)):
        raise UserError(f"{where}: files are called by it; use letters, digits, - and _")
    if not isinstance(changes, (Mapping, ConfigDict)):
        raise UserError(f"{where}={changes!r}: a set is given as {{field: value}}")
    settings = evaluation.copy_and_resolve_references()
    fields = [field for field in evaluation if field not in _OF_ALL_SETS]
    for field, value in changes.items():
        if field in _OF_ALL_SETS:
            raise UserError(f"{where}.{field}: it is the same for all sets; name it in evaluation")
        if field not in fields:
            near = difflib.get_close_matches(field, fields, 1, 0)[0]
            raise UserError(f"{where}.{field} is no field of a set; did you mean {near}?")
        try:
            settings[field] = value
        except TypeError:
            kind = type(settings[field]).__name__
            raise UserError(f"{where}.{field}={value!r} should be a {kind}") from None
    return settings


def _checked(settings: ConfigDict, where: str) -> ConfigDict:
    for field in _AT_LEAST_ONE:
        if settings[field] < 1:
            raise UserError(f"{where}.{field}={settings[field]}: at least 1 is needed")
    if settings.kind not in KINDS:
        raise UserError(f"{where}.kind={settings.kind!r}; there are: {', '.join(KINDS)}")
    if settings.connectivity not in ("host", "device"):
        raise UserError(f"{where}.connectivity={settings.connectivity!r}; there are: host, device")
    return settings


def rule(settings: ConfigDict, model: ConfigDict) -> inference.Rule:
    """The test-time rule with what it knows of the options and of the model's fields."""
    chosen = inference.get(settings.rule)
    known = {**model.to_dict(), **settings.model.to_dict(), **settings.options.to_dict()}
    named = inspect.signature(chosen).parameters
    return functools.partial(chosen, **{name: v for name, v in known.items() if name in named})


def progress(batches: Iterable[Item], total: int) -> Iterator[Item]:
    """The batches with a bar, on the screen of the process that writes."""
    return iter(tqdm(batches, "evaluate", total, leave=False, disable=None if is_main() else True))
