"""Test sets that are composed by frozen lists, such as Composition-1k and Distinctions-646.

One list names the foregrounds, another the backgrounds in order: with n backgrounds a foreground,
line i * n + j of the second goes with line i of the first. The composite is `<foreground>_<j>.png`.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxmatte.data import layouts, manifest, rows, sources
from jaxmatte.data.layouts import Column, Part, Split, Survey
from jaxmatte.errors import UserError

COCO_PREFIX = "COCO_train2014_"  # of names in COCO's older releases
_STRIP = 64  # rows composed at a time, for float64 takes eight times the memory


@dataclasses.dataclass(frozen=True)
class Composites:
    """A split that is composed by frozen lists.

    Attributes:
        foregrounds: The split of foregrounds and alphas.
        lists: The files that name the foregrounds, and the backgrounds in order.
        each: Backgrounds a foreground.
        backgrounds: Folders of the backgrounds, below the set's folder or beside it.
        parts: Files by the names of the composites: trimaps, and composites made before.
        count: Rows by the authors' account.
        optional: A copy without this split is a whole copy.
    """

    foregrounds: Split
    lists: tuple[tuple[str, ...], tuple[str, ...]]
    each: int
    backgrounds: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    count: int | None = None
    optional: bool = False
    clips: None = None

    def where(self) -> dict[str, str]:
        """Where the files lie below the set's folder, in words, by field."""
        places = self.foregrounds.where() | {part.field: part.where() for part in self.parts}
        places["background"] = " or ".join(self.backgrounds) + ", also beside the set's folder"
        return places | {"lists": " and ".join(names[0] for names in self.lists)}

    def order(self, base: pathlib.Path) -> dict[str, list[str]]:
        """The names of each foreground's backgrounds, both in the order of the lists.

        Raises:
            UserError: where a list is missing or the two do not go together.
        """
        foregrounds, backgrounds = (_lines(base, names) for names in self.lists)
        if len(backgrounds) != self.each * len(foregrounds):
            raise UserError(
                f"{base / self.lists[1][0]} has {len(backgrounds)} lines where "
                f"{len(foregrounds)} foregrounds with {self.each} each need "
                f"{self.each * len(foregrounds)}"
            )
        return {
            name: backgrounds[number * self.each : (number + 1) * self.each]
            for number, name in enumerate(foregrounds)
        }

    def fixed(self, base: pathlib.Path) -> dict[str, list[pathlib.Path]]:
        """The files of each foreground's backgrounds, by the foreground's name.

        Raises:
            UserError: where lists or backgrounds are missing.
        """
        order = self.order(base)
        files = self._files(base)
        lost = [name for names in order.values() for name in names if name not in files]
        if lost:
            places = " or ".join(self.backgrounds)
            raise UserError(
                f"{len(lost)} backgrounds are not there, among them {', '.join(lost[:5])}; "
                f"looked for {places} in {base} and its parent"
            )
        return {fg: [pathlib.Path(files[name][0]) for name in order[fg]] for fg in order}

    def survey(self, base: pathlib.Path) -> Survey:
        """Looks what is there: a row a composite, in the order of the lists."""
        pictures = self.foregrounds.survey(base)
        if not pictures.names:
            return pictures
        try:
            order = self.order(base)
        except UserError as error:
            return dataclasses.replace(pictures, faults=[*pictures.faults, str(error)])
        pairs = [(pathlib.PurePath(fg).stem, j) for fg in order for j in range(self.each)]
        columns = [self._spread(column, pairs) for column in pictures.columns]
        absent = list(pictures.absent)
        for part in self.parts:
            column = layouts.gather([base], part)
            if column.prints:
                columns.append(column)
            else:
                absent.append(part)
        names = [f"{stem}_{j}" for stem, j in pairs]
        found = Survey(names, columns, absent, list(pictures.faults))
        self._add_backgrounds(base, order, found)
        return found

    def open(self, base: pathlib.Path, title: str) -> "CompositeSource":
        """A source of the composites; those not on file are composed when they are read."""
        found = self.survey(base)
        groups = self.foregrounds.groups
        return CompositeSource(title, layouts.whole(found, base, title, groups))

    @staticmethod
    def _spread(column: Column, pairs: Sequence[tuple[str, int]]) -> Column:
        """The file of each foreground for every composite of it."""
        files = {f"{stem}_{j}": column.files[stem] for stem, j in pairs if stem in column.files}
        return dataclasses.replace(column, files=files)

    def _files(self, base: pathlib.Path) -> dict[str, tuple[str, int]]:
        """The backgrounds that are there: file and bytes, by both names that COCO gave them."""
        places = [place / name for place in (base, base.parent) for name in self.backgrounds]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            return {}
        listed = manifest.scan(folder)
        files = {
            name: (f"{folder}/{name}", count)
            for name, count in zip(listed.names, listed.bytes, strict=True)
        }
        return {COCO_PREFIX + name: file for name, file in files.items()} | files

    def _add_backgrounds(
        self, base: pathlib.Path, order: dict[str, list[str]], found: Survey
    ) -> None:
        there = self._files(base)
        listed = [name for names in order.values() for name in names]
        pairs = [
            (row, there[name])
            for row, name in zip(found.names, listed, strict=True)
            if name in there
        ]
        part = Part("background", self.backgrounds, layouts.COLOUR, partial=True, fitted=True)
        files = {row: file for row, (file, _) in pairs}
        if files:
            counts = [f"{row}:{count}" for row, (_, count) in pairs]
            found.columns.append(Column(part, files, counts, []))
        merged = next((c.files for c in found.columns if c.part.field == "image"), {})
        lost = [row for row in found.names if row not in files and row not in merged]
        if lost:
            found.faults.append(
                f"{len(lost)} of {len(found.names)} composites are neither on file nor have their "
                f"background in {' or '.join(self.backgrounds)}: {', '.join(lost[:5])}"
            )


class CompositeSource(layouts.FilesSource):
    """Composites of foregrounds and backgrounds, in the order of their lists."""

    def name(self, index: int) -> str:
        """The composite's file name, also of its trimap and of its result."""
        return f"{self._rows[index]}.png"

    def __getitem__(self, index: int) -> rows.Row:
        row = super().__getitem__(index)
        planes = dict(row.planes)
        if "background" in planes:
            plane = planes["background"]
            assert isinstance(plane, rows.File)
            planes["background"] = rows.File(plane.path, functools.partial(_covering, row.size))
        if "image" not in planes:
            planes["image"] = _Blend(planes)
        return rows.Row(row.index, row.name, row.size, planes)


class _Blend:
    """A composite made of other planes."""

    def __init__(self, planes: dict[str, rows.Plane]):
        self._planes = [planes[field] for field in ("foreground", "background", "alpha")]

    def read(self, window: rows.Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        return composed(*(plane.read(window) for plane in self._planes))


def composed(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The composite [H,W,3] uint8 of the published sets: in float64, cut off to whole numbers.

    `compose.blend` gives one less or more for one in 700 of all triples of values.

    Args:
        foreground: [H,W,3] uint8.
        background: [H,W,3] uint8.
        alpha: [H,W] uint8.
    """
    mixed = np.empty_like(foreground)
    for top in range(0, len(mixed), _STRIP):
        rows = slice(top, top + _STRIP)
        opacity = alpha[rows, :, None] / 255
        mixed[rows] = opacity * foreground[rows] + (1 - opacity) * background[rows]
    return mixed


def _covering(size: tuple[int, int], path: pathlib.Path) -> np.ndarray:
    return cover(sources.read_colour(path), size)


def cover(background: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The top left corner of a background, enlarged first where it is too small.

    Args:
        background: [H,W,3] uint8.
        size: Height and width wanted.

    Returns:
        [h,w,3] uint8. The enlargement is Pillow's bicubic one, which made the published sets.
    """
    height, width = background.shape[:2]
    ratio = max(size[0] / height, size[1] / width)
    if ratio > 1:
        enlarged = (math.ceil(width * ratio), math.ceil(height * ratio))
        picture = Image.fromarray(background).resize(enlarged, Image.Resampling.BICUBIC)
        background = np.asarray(picture)
    return np.ascontiguousarray(background[: size[0], : size[1]])


def _lines(base: pathlib.Path, names: Sequence[str]) -> list[str]:
    """The lines of the first list that is there, whatever their line ends."""
    path = next((base / name for name in names if (base / name).is_file()), None)
    if path is None:
        raise UserError(f"no list {base / names[0]}, which says what is composed with what")
    return [
        line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()
    ]
