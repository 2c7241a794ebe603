"""What people and programs read of a measurement: tables, rows, records."""

import csv
import dataclasses
import io
import json
import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import jaxmatte
from jaxmatte.evaluate.folders import Measurement
from jaxmatte.terminal import printable

SHOWN = 20  # lines of a kind in the terminal
_DIGITS = 5  # that count, of a mean


def number(value: float | None) -> str:
    """A mean with five digits that count and no exponent; "-" where there is none."""
    if value is None:
        return "-"
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = _DIGITS - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(places, 1), 9)}f}"


def markdown(means: Mapping[str, float | None], over: Mapping[str, str]) -> str:
    """A table with a line a metric.

    Args:
        means: By the metric's label, which names protocol and region.
        over: What each mean is over, by the same labels.
    """
    lines = [(label, number(mean), over[label]) for label, mean in means.items()]
    head = ("metric", "mean", "over")
    wide = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = f"| {'-' * wide[0]} | {'-' * (wide[1] - 1)}: | {'-' * wide[2]} |"
    told = [
        f"| {label:{wide[0]}} | {mean:>{wide[1]}} | {what:{wide[2]}} |"
        for label, mean, what in (head, *lines)
    ]
    return "\n".join([told[0], rule, *told[1:]]) + "\n"


def as_csv(rows: Iterable[Mapping[str, Any]], headers: Mapping[str, str]) -> str:
    """Rows as CSV, numbers to their last digit.

    Args:
        rows: A dict a row.
        headers: What is written of a row, and the name of the column for it.
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(headers.values())
    for row in rows:
        cells = (row[key] for key in headers)
        table.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def as_json(record: Mapping[str, Any]) -> str:
    """A record as JSON."""
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def listed(lists: Mapping[str, list[str]], meanings: Mapping[str, str], rest: str) -> list[str]:
    """Lines for the terminal: each kind with its first lines, indented.

    Args:
        lists: By kind.
        meanings: What a kind means, where its name does not say it.
        rest: Where all lines are.
    """
    told = []
    for kind, lines in lists.items():
        meaning = f" ({meanings[kind]})" if kind in meanings else ""
        told.append(f"{kind}: {len(lines):,}{meaning}")
        told += [f"  {line}" for line in lines[:SHOWN]]
        if len(lines) > SHOWN:
            told.append(f"  and {len(lines) - SHOWN:,} more; all are in {rest}")
    return told


def summary(measured: Measurement, flags: Mapping[str, str]) -> dict[str, Any]:
    """All that was found, but for the rows: what `summary.json` holds.

    Args:
        measured: What was measured.
        flags: Of the command, those that decide what is measured.
    """
    records = {column.protocol.name: column.protocol for column in measured.columns}
    return {
        "jaxmatte": jaxmatte.__version__,
        "flags": dict(flags),
        "means": measured.means(),
        "over": measured.over(),
        "pictures": len(measured.rows),
        "true mattes": measured.pictures,
        "problems": measured.problems,
        "notes": measured.notes,
        "protocols": {name: dataclasses.asdict(record) for name, record in records.items()},
    }


def page(measured: Measurement, flags: Mapping[str, str]) -> str:
    """The means for a paper or an issue, with what was measured and what is missing."""
    told = f"{len(measured.rows):,} of {measured.pictures:,} pictures were measured."
    for lists in (measured.problems, measured.notes):
        told += "".join(f" {kind.capitalize()}: {len(lines):,}." for kind, lines in lists.items())
    command = shlex.join(f"{flag}={value}" for flag, value in flags.items())
    return (
        f"{markdown(measured.means(), measured.over())}\n{told}\n\n"
        f"`python -m jaxmatte.evaluate {printable(command)}` (jaxmatte {jaxmatte.__version__})\n"
    )
