"""The sets of the papers by name: `catalog.open("am2k", root, "train")` is a source.

What is known of each is in `sets`; `python -m jaxmatte.data` lists them and checks a copy.
"""

import contextlib
import difflib
import pathlib

import numpy as np

from jaxmatte.data import sets, sources
from jaxmatte.data.entry import ALL, Entry, Layout, parts_of
from jaxmatte.data.frozen import Composites
from jaxmatte.data.layouts import CUTOUT, FilesSource
from jaxmatte.errors import BrokenData, UserError


def names() -> tuple[str, ...]:
    """The sets there are."""
    return tuple(sets.ENTRIES)


def get(name: str) -> Entry:
    """The entry of a set.

    Raises:
        UserError: where there is none of that name.
    """
    key = name.lower().replace("-", "").replace("_", "").replace(".com", "")
    if key not in sets.ENTRIES:
        near = difflib.get_close_matches(key, sets.ENTRIES, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no data set {name!r}; {hint}there are: {', '.join(sets.ENTRIES)}")
    return sets.ENTRIES[key]


def open(name: str, root: pathlib.Path | str, split: str = "") -> FilesSource:
    """Opens a split of a set.

    Args:
        name: Of the set.
        root: The set's folder, or the one that holds it.
        split: Its name; the first of the set where it is empty.

    Raises:
        UserError: where files are missing: what was looked for, and how to get the set.
    """
    entry = get(name)
    base, split, layout = find(entry, root, split)
    title = f"{entry.name}/{split}"
    try:
        source = layout.open(base, title)
    except UserError as error:
        advice = f"; {entry.get}" if not entry.plain else ""
        raise UserError(f"{error}{advice} (python -m jaxmatte.data show {entry.name})") from None
    if entry.plain and any(
        part.field == "alpha" or part.holds == CUTOUT for part in parts_of(layout)
    ):
        sources.warn_of_binary_alphas(_sampled_alphas(source), base)
    return source


def _sampled_alphas(source: FilesSource) -> list[np.ndarray]:
    """Some of the alphas; a broken one is passed over, for whoever reads its row to say so."""
    alphas = []
    for index in range(0, len(source), -(-len(source) // sources.BINARY_SAMPLE)):
        with contextlib.suppress(BrokenData):
            alphas.append(source[index]["alpha"])
    return alphas


def find(
    entry: Entry, root: pathlib.Path | str, split: str = ""
) -> tuple[pathlib.Path, str, Layout]:
    """The folder, full name and layout of a split, which need not be there."""
    base = base_of(entry, root)
    split = split or next(iter(entry.splits))
    for known, layout in entry.splits.items():
        if known.lower() == split.lower():
            return base, known, layout
    if entry.plain and (base / split).is_dir():
        return base / split, split, entry.splits[ALL]
    there = ", ".join(entry.splits) + (f", or a folder below {base}" if entry.plain else "")
    raise UserError(f"{entry.name} has no split {split!r}; there are: {there}")


def base_of(entry: Entry, root: pathlib.Path | str) -> pathlib.Path:
    """The set's folder: the root, or a folder of its name in it."""
    root = pathlib.Path(root)
    if not root.is_dir():
        told = f"{root} is a file" if root.is_file() else f"no folder {root}"
        raise UserError(f"{told}; give the folder that holds {entry.title}")
    return next((root / name for name in entry.folders if (root / name).is_dir()), root)


def fixed_backgrounds(
    name: str, root: pathlib.Path | str, split: str = "train_composed"
) -> dict[str, list[pathlib.Path]]:
    """The backgrounds that go with each foreground for ever, as the set's lists have it.

    Args:
        name: Of a set with frozen lists: composition1k, distinctions646.
        root: The set's folder, or the one that holds it.
        split: One with frozen lists.

    Returns:
        Files by the foreground's file name, in the order of the lists.
    """
    entry = get(name)
    base, split, layout = find(entry, root, split)
    if not isinstance(layout, Composites):
        raise UserError(f"{entry.name}/{split} has no frozen lists")
    return layout.fixed(base)
