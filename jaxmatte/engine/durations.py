"""Durations of a configuration, as steps."""

import math
import re

from jaxmatte.errors import UserError

_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(steps?|epochs?|examples?|%)\s*")


def steps(text: str, field: str, *, batch: int, epoch: int, total: int | None = None) -> int:
    """Returns "600 steps", "10 epochs", "5000 examples" or "5%" as a number of steps.

    Args:
        text: The duration.
        field: Its name in the configuration, for the message.
        batch: Examples a step.
        epoch: Examples an epoch.
        total: Steps of the whole run, which a percentage refers to.
    """
    match = _FORM.fullmatch(text)
    if match is None or (match[2] == "%" and total is None):
        forms = '"600 steps", "10 epochs", "5000 examples"' + (' or "5%"' if total else "")
        raise UserError(f"{field}={text!r} is not a duration; write {forms}")
    amount, unit = float(match[1]), match[2]
    if unit == "%":
        return round((total or 0) * amount / 100)
    if unit.startswith("epoch"):
        return math.ceil(amount * epoch / batch)
    if unit.startswith("example"):
        return math.ceil(amount / batch)
    return round(amount)
