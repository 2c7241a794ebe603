"""What the group `evaluation` of a configuration says of each set, checked before anything runs."""

import difflib
import re
from collections.abc import Mapping

from ml_collections import ConfigDict

from jaxmatte.errors import UserError

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
    if settings.connectivity not in ("host", "device"):
        raise UserError(f"{where}.connectivity={settings.connectivity!r}; there are: host, device")
    return settings
