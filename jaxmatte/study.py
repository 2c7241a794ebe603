"""Tables of a replication: the paper's number, ours, and why one is missing."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxmatte.errors import UserError
from jaxmatte.evaluate import TABLES, table_name


def published(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Reads a paper's rows: `set`, `model`, `source`, `needs` and `metrics` by their labels."""
    try:
        rows = json.loads(pathlib.Path(path).read_text())
        for row in rows:
            for field in ("set", "model", "source", "needs", "metrics"):
                row[field]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no table of published numbers: {error!r}") from None
    return rows


def measured(workdir: str | pathlib.Path, which: str = "best", name: str = "") -> dict[str, Any]:
    """Reads the summary that `--mode=eval` left in a working directory.

    Args:
        workdir: The working directory.
        which: "best" or "last".
        name: Of `evaluation.sets`; "" where sets have no names.
    """
    pattern = table_name(f"{which}_{'[0-9]' * 7}", name)
    found = sorted((pathlib.Path(workdir) / TABLES).glob(f"{pattern}.json"))
    if not found:
        there = sorted(p.stem for p in (pathlib.Path(workdir) / TABLES).glob(f"{which}_*.json"))
        if there:
            raise UserError(f"{workdir} has no evaluation {name!r}; there are: {', '.join(there)}")
        raise UserError(f"{workdir} was not evaluated; run the command with --mode=eval")
    return json.loads(found[-1].read_text())


def table(
    rows: Sequence[Mapping[str, Any]], ours: Mapping[tuple[str, str], Mapping[str, Any]]
) -> str:
    """Lays a paper's rows beside ours, in Markdown; every number under its protocol.

    Args:
        rows: Of `published`.
        ours: Summaries of `measured`, by (set, model). A row without one says what it needs.
    """
    labels = list(dict.fromkeys(label for row in rows for label in row["metrics"]))
    head = ["set", "model", *(f"{label} paper / ours" for label in labels), "source"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        mine = ours.get((row["set"], row["model"]))
        cells = []
        for label in labels:
            paper = row["metrics"].get(label, "not published")
            own = f"not run: needs {row['needs']}"
            if mine is not None:
                own = f"{mine[label]:.4g}" if label in mine else "not measured"
            cells.append(f"{paper} / {own}")
        lines.append(f"| {row['set']} | {row['model']} | {' | '.join(cells)} | {row['source']} |")
    return "\n".join(lines)
