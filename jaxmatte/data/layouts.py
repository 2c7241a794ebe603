"""Sets whose rows are files of one name in several folders: what a layout says, and its source.

A split of a set is a tuple of parts, one a field: `Part("alpha", ("train/mask",), ALPHA)`. A survey
says what is there, without complaint, for the checker; a source complains where it is not whole.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from jaxmatte.data import manifest, rows, sources
from jaxmatte.errors import BrokenData, UserError

# What the files of a part hold.
COLOUR, ALPHA, CUTOUT = "colour", "alpha", "cutout"
TRIMAP, DETAIL = "trimap", "detail"
LABEL, LABEL_IDS = "label", "label ids"

_MOST_PIXELS = 1 << 30  # of a map of classes; as many as OpenCV takes of other pictures
IGNORED = 255  # the class of pixels that count for nothing
# Cityscapes' label numbers, in the order of the 19 classes that are trained and scored.
_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_IDS = np.full(256, IGNORED, np.uint8)
TRAIN_IDS[list(_TRAINED)] = np.arange(len(_TRAINED), dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class Part:
    """One field of a split.

    Attributes:
        field: Of the rows; a cut-out gives `foreground` and `alpha`.
        folders: Below the set's folder; the first that is there is taken.
        holds: What its files are, such as `ALPHA`.
        ending: What stands in a file's name between the row's name and the suffix.
        optional: A copy without this part is a whole copy.
        partial: Some rows may lack it.
        recursive: Its files lie in folders below.
        fitted: Its files have sizes of their own and are made to fit the row.
    """

    field: str
    folders: tuple[str, ...]
    holds: str
    ending: str = ""
    optional: bool = False
    partial: bool = False
    recursive: bool = False
    fitted: bool = False

    def folder(self, base: pathlib.Path) -> pathlib.Path | None:
        """The first of its folders that is there."""
        return next((base / f for f in self.folders if (base / f).is_dir()), None)

    def where(self, groups: Sequence[str] = ("",)) -> str:
        """Where its files lie, in words."""
        pattern = f"/*{self.ending}.*" if self.ending else ""
        places = " and ".join(
            " or ".join((f"{group}/{f}".strip("/") or "itself") + pattern for f in self.folders)
            for group in groups
        )
        return f"{places} (optional)" if self.optional else places


@dataclasses.dataclass
class Column:
    """The files of a part.

    Attributes:
        part: What the layout says of them.
        files: By the name of their row.
        prints: Fingerprints of their folders.
        twice: Files that claim a row's name after another one did.
    """

    part: Part
    files: dict[str, str]
    prints: list[str]
    twice: list[str]


@dataclasses.dataclass
class Survey:
    """What is there of a split.

    Attributes:
        names: The rows, in order.
        columns: Of the parts whose folders are there.
        absent: Parts whose folders are not there.
        faults: What else is wrong, a line each: missing groups, lists that do not hold.
    """

    names: list[str]
    columns: list[Column]
    absent: list[Part]
    faults: list[str] = dataclasses.field(default_factory=list)

    def lonely(self, column: Column) -> list[str]:
        """Rows that lack a part they should have."""
        if column.part.partial:
            return []
        return [name for name in self.names if name not in column.files]

    def strangers(self, column: Column) -> list[str]:
        """Files of a part whose row is not there."""
        there = set(self.names)
        return [path for name, path in sorted(column.files.items()) if name not in there]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a set: its parts, the first of which names the rows.

    Attributes:
        parts: One a field.
        count: Rows by the authors' account; None where nothing is said.
        clips: Folders of frames, likewise.
        optional: A copy without this split is a whole copy.
        groups: Folders that each hold the parts; their rows are put together.
    """

    parts: tuple[Part, ...]
    count: int | None = None
    clips: int | None = None
    optional: bool = False
    groups: tuple[str, ...] = ("",)

    def where(self) -> dict[str, str]:
        """Where the files lie below the set's folder, in words, by field."""
        return {part.field: part.where(self.groups) for part in self.parts}

    def survey(self, base: pathlib.Path) -> Survey:
        """Looks which files are there below the set's folder, pairing them by name."""
        found = Survey([], [], [])
        for part in self.parts:
            column = gather([base / group for group in self.groups], part)
            if not column.prints:
                found.absent.append(part)
                continue
            found.columns.append(column)
            for group in self.groups:
                if part.folder(base / group) is None:
                    found.faults.append(f"no folder of the field {part.field} in {base / group}")
        if self.parts[0] in found.absent:  # nothing names the rows
            return dataclasses.replace(found, columns=[])
        found.names = sorted(found.columns[0].files)
        return found

    def open(self, base: pathlib.Path, title: str) -> "FilesSource":
        """A source of the rows; `title` names it in messages and fingerprints."""
        return FilesSource(title, whole(self.survey(base), base, title, self.groups))


def gather(bases: Sequence[pathlib.Path], part: Part) -> Column:
    """The files of a part, from each of the bases that has its folder."""
    column = Column(part, {}, [], [])
    for base in bases:
        folder = part.folder(base)
        if folder is None:
            continue
        listed = manifest.scan(folder, recursive=part.recursive)
        column.prints.append(listed.fingerprint)
        for name in listed.names:
            stem = name[: name.rindex(".")]
            if not stem.endswith(part.ending):
                continue  # Cityscapes keeps colour pictures beside its label maps
            row = stem.removesuffix(part.ending)
            if row in column.files:
                column.twice.append(f"{folder}/{name}")
            else:
                column.files[row] = f"{folder}/{name}"
    return column


def whole(found: Survey, base: pathlib.Path, title: str, groups: Sequence[str] = ("",)) -> Survey:
    """Returns the survey.

    Raises:
        UserError: where folders, files or partners are missing.
    """
    for part in found.absent:
        if not part.optional:
            raise UserError(
                f"{title}: no folder of the field {part.field}; {base} lacks {part.where(groups)}"
            )
    if found.faults:
        raise UserError(f"{title}: {found.faults[0]}")
    for column in found.columns:
        field = column.part.field
        if column.twice:
            raise UserError(
                f"{title}: {column.twice[0]} has the name of another file of the field {field} "
                "but for its ending; take one of them out"
            )
        if lonely := found.lonely(column):
            raise UserError(
                f"{title}: {len(lonely)} of {len(found.names)} rows have no file of the field "
                f"{field}: {', '.join(lonely[:5])}"
            )
    if not found.names:
        raise UserError(f"{title}: no pictures in {base / found.columns[0].part.folders[0]}")
    return found


class FilesSource:
    """Rows whose planes are files of one name in several folders."""

    def __init__(self, title: str, found: Survey):
        """Keeps what a whole survey found."""
        self._rows = found.names
        self._parts = [column.part for column in found.columns]
        self._files = [[column.files.get(name) for name in found.names] for column in found.columns]
        lines = [text for column in found.columns for text in column.prints] + found.names
        digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
        self.fingerprint = f"{title}:{len(found.names)}:{digest[:16]}"
        self.has_trimaps = any(part.field == "trimap" for part in self._parts)

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """What a person calls the row: its file's name, below its folder."""
        return self._rows[index] + self.path(index).suffix

    def path(self, index: int) -> pathlib.Path:
        """The file that names the row."""
        return pathlib.Path(self._files[0][index] or "")

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row, without decoding it."""
        return sources.read_size(self.path(index))

    def __getitem__(self, index: int) -> rows.Row:
        if not 0 <= index < len(self):  # so that a plain loop ends
            raise IndexError(index)
        planes: dict[str, rows.Plane] = {}
        for part, files in zip(self._parts, self._files, strict=True):
            file = files[index]
            if file is not None:
                planes |= planes_of(part, pathlib.Path(file), planes)
        return rows.Row(index, self.name(index), self.size(index), planes)


def planes_of(
    part: Part, path: pathlib.Path, others: Mapping[str, rows.Plane]
) -> dict[str, rows.Plane]:
    """The planes in a file, by field; `others` are those of the parts before it."""
    if part.holds == CUTOUT:
        return sources.cutout_planes(path)
    plane = rows.File(path, READERS[part.holds])
    return {part.field: _DetailTrimap(plane, others["alpha"]) if part.holds == DETAIL else plane}


class _DetailTrimap:
    """A trimap from a map of detail: unknown where there is detail, else as the alpha says."""

    def __init__(self, detail: rows.Plane, alpha: rows.Plane):
        self._detail, self._alpha = detail, alpha

    def read(self, window: rows.Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        known = np.where(self._alpha.read(window) > 127, np.uint8(255), np.uint8(0))
        return np.where(self._detail.read(window) > 0, np.uint8(128), known)


def read_label(path: pathlib.Path) -> np.ndarray:
    """Reads a map of classes [H,W] uint8; of a palette the numbers, not the colours."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f"it says to be {picture.width}x{picture.height}")
            pixels = np.array(picture.convert("L") if picture.mode == "1" else picture)
    except Exception as error:  # Pillow raises all sorts of things at bytes that are no picture
        raise BrokenData(f"cannot decode {path}: {str(error) or type(error).__name__}") from None
    if pixels.ndim == 3 and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.min() < 0 or pixels.max() > 255:
        raise BrokenData(f"{path} is no map of classes: these are grey or palette, 0 to 255")
    return pixels.astype(np.uint8)


def read_label_ids(path: pathlib.Path) -> np.ndarray:
    """Reads Cityscapes' label numbers as its 19 classes [H,W] uint8; 255: ignored."""
    return TRAIN_IDS[read_label(path)]


READERS: dict[str, Callable[[pathlib.Path], np.ndarray]] = {
    COLOUR: sources.read_colour,
    ALPHA: sources.read_grey,
    TRIMAP: sources.read_grey,
    DETAIL: sources.read_grey,
    LABEL: read_label,
    LABEL_IDS: read_label_ids,
}
