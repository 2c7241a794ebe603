"""The worst pictures of a measurement, for people: read once more and laid out."""

from typing import Any

import numpy as np

from jaxmatte.data import sources
from jaxmatte.engine import pictures
from jaxmatte.errors import BrokenData
from jaxmatte.evaluate.columns import Column
from jaxmatte.evaluate.folders import Measurement
from jaxmatte.evaluate.matching import Matches
from jaxmatte.evaluate.report import number
from jaxmatte.terminal import printable

HEIGHT = 240  # of a row, in pixels


def worst(measurement: Measurement, count: int) -> np.ndarray | None:
    """The pictures with the largest numbers in the first column, the largest first.

    Args:
        measurement: What was measured.
        count: How many rows at most.

    Returns:
        [H,W,3] uint8 with image, prediction, truth, error and trimap as far as they are there;
        None where there is no row.
    """
    first, rows = measurement.columns[0], measurement.worst(count)
    if not rows:
        return None
    own = [column for column in measurement.columns if column.protocol == first.protocol]
    indices = {name: index for index, name in enumerate(measurement.matches.names)}
    title = (
        f"The worst {len(rows):,} of {len(measurement.rows):,} by {first.label}. "
        "Error: too much is red, missing is blue."
    )
    # One at a time: what is laid out is kept, not the pictures as large as they are.
    laid_out = (_row(measurement.matches, indices[row["name"]], row, own) for row in rows)
    return pictures.table(laid_out, title, HEIGHT)


def _row(
    matches: Matches, index: int, row: dict[str, Any], columns: list[Column]
) -> tuple[dict[str, np.ndarray | None], str]:
    """Tiles and caption of a picture; the caption tells of a file that cannot be read."""
    numbers = (f"{c.label}: {number(row[c.name])}" for c in columns)
    # No line is broken inside of a number.
    words = [printable(row["name"]), *(told.replace(" ", "\N{NO-BREAK SPACE}") for told in numbers)]

    def read(role: str) -> np.ndarray | None:
        try:
            return _read(matches, role, index)
        except BrokenData as problem:
            words.append(printable(str(problem)))
            return None

    given = matches.folders.given
    tiles = {"image": read("images")} if "images" in given else {}
    prediction, truth = read("predictions"), read("truth")
    error = None
    if prediction is not None and truth is not None:
        error = pictures.error(prediction, truth)
    tiles |= {"prediction": prediction, "truth": truth, "error": error}
    tiles |= {"trimap": read("trimaps")} if "trimaps" in given else {}
    return tiles, "   ".join(words)


def _read(matches: Matches, role: str, index: int) -> np.ndarray | None:
    """A picture [H,W,3] or a plane [H,W]; None where there is no file."""
    path = matches.path(role, index)
    if path is None:
        return None
    return sources.read_colour(path) if role == "images" else sources.read_grey(path)
