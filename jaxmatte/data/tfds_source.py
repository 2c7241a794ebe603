"""Prepared TFDS sets as a source: array_record builders, read without TensorFlow.

The features' bytes are taken as they are on file and decoded here, by the rules of all other
sources: TFDS looks at no channels when it reads, turns pictures by their EXIF, and may decode with
one library or another.
"""

import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder

from jaxmatte.data import sources
from jaxmatte.data.rows import Plane, Row, Window
from jaxmatte.errors import BrokenData, UserError

COLOURS = ("image", "foreground", "background")
PLANES = ("alpha", "trimap", "label")
NAMES = ("name", "file_name", "filename", "image/filename", "id")  # features that name a row


class TfdsSource:
    """A split of a prepared set; may be pickled and shared by threads."""

    def __init__(
        self,
        name: str,
        root: str | os.PathLike,
        split: str = "train",
        fields: Mapping[str, str] | None = None,
    ):
        """Opens a set; no code of its builder is needed.

        Args:
            name: `name`, `name/config`, `name:1.0.0`, or the folder of the prepared files.
            root: The data directory of TFDS, below which the set lies.
            split: As TFDS says it, such as `train` or `train[:90%]`.
            fields: The feature of each field; features named like fields where not given.
        """
        self._given = (name, str(root), split, dict(fields) if fields else None)
        builder = _open(name, pathlib.Path(root))
        self.title, self.split = builder.info.full_name, split
        pictures = _picture_features(builder.info.features)
        self.fields = _require_fields(dict(fields) if fields else None, pictures, self.title)
        self._name_feature = next((n for n in NAMES if n in builder.info.features), None)
        self._files = _files(builder, split)
        self._source = _data_source(builder, split, pictures)
        self._first_field = next(iter(self.fields))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Row:
        """A row; its pictures are decoded when they are asked for."""
        index, record = int(index), self._record(index)
        planes: dict[str, Plane] = {}
        for field, feature in self.fields.items():
            decode = _colours if field in COLOURS else _grey
            what = f"the {field} of row {index} of {self.title} ({feature})"
            planes[field] = _Encoded(record[feature], decode, what)
        return Row(index, self._name(index, record), self._size(index, record), planes)

    def name(self, index: int) -> str:
        """What a person calls a row."""
        return self._name(index, self._record(index) if self._name_feature else {})

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row, without decoding it."""
        return self._size(index, self._record(index))

    @property
    def has_trimaps(self) -> bool:
        """Whether rows have `trimap`."""
        return "trimap" in self.fields

    @property
    def fingerprint(self) -> str:
        """Changes with the version, the split, the fields, and the sizes of the files."""
        files = [(path.name, path.stat().st_size, *span) for path, *span in self._files]
        digest = hashlib.sha256(repr((sorted(self.fields.items()), files)).encode()).hexdigest()
        return f"tfds:{self.title}:{self.split}:{len(self)}:{digest[:16]}"

    def _record(self, index: int) -> dict[str, Any]:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)} in {self.title}")
        try:
            return self._source[index]
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BrokenData(
                f"row {index} of {self.title}, {self.split}, does not read: {reason}"
            ) from None

    def _name(self, index: int, record: dict[str, Any]) -> str:
        if self._name_feature is None:
            return f"{self.split}[{index}]"
        value = record[self._name_feature]
        return value.decode() if isinstance(value, bytes) else str(value)

    def _size(self, index: int, record: dict[str, Any]) -> tuple[int, int]:
        try:
            with Image.open(io.BytesIO(record[self.fields[self._first_field]])) as picture:
                return picture.height, picture.width
        except (OSError, SyntaxError, ValueError) as error:
            raise BrokenData(
                f"the {self._first_field} of row {index} of {self.title} is no picture: {error}"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"given": self._given, "fingerprint": self.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["given"])  # type: ignore[misc]
        if self.fingerprint != state["fingerprint"]:
            raise UserError(
                f"{self.title} changed while it was in use: it was {state['fingerprint']} and is "
                f"{self.fingerprint}"
            )

    def __repr__(self) -> str:
        return f"TfdsSource({self.title}, {self.split})"


class _Encoded:
    """A plane in the bytes of a picture file, decoded once."""

    def __init__(self, content: bytes, decode: Callable[[bytes, str], np.ndarray], what: str):
        self._content, self._decode, self._what = content, decode, what
        self._pixels: np.ndarray | None = None

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        if self._pixels is None:
            self._pixels = self._decode(self._content, self._what)
        return self._pixels if window is None else self._pixels[window]


def _open(name: str, root: pathlib.Path) -> Any:
    """A builder of the files that are there."""
    if (root / name / "dataset_info.json").exists():
        builder = tfds.builder_from_directory(root / name)
    else:
        try:
            builder = read_only_builder.builder_from_files(name, data_dir=root)
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            there = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else ""
            raise UserError(
                f"TFDS finds no prepared set {name!r} below {root} ({_first_line(error)}); there "
                f"is: {there or 'nothing'}"
            ) from None
    form = builder.info.file_format
    if form != tfds.core.FileFormat.ARRAY_RECORD:
        told = form.value if form else "an unknown form"
        raise UserError(
            f"{builder.info.full_name} in {builder.data_path} is {told}, which has no random "
            "access; prepare it with file_format='array_record'"
        )
    return builder


def _picture_features(features: Any) -> dict[str, Any]:
    """The pictures at the top of the features, by name."""
    return {name: f for name, f in features.items() if isinstance(f, tfds.features.Image)}


def _require_fields(
    given: dict[str, str] | None, pictures: Mapping[str, Any], title: str
) -> dict[str, str]:
    known = (*COLOURS, *PLANES)
    fields = given or {field: field for field in known if field in pictures}
    listed = ", ".join(sorted(pictures)) or "none"
    for field, feature in fields.items():
        if field not in known:
            raise UserError(f"{title}: no field {field!r}; there are: {', '.join(known)}")
        if feature not in pictures:
            raise UserError(f"{title} has no picture feature {feature!r}; there are: {listed}")
    matte = "alpha" in fields and ("image" in fields or "foreground" in fields)
    if not (matte or "background" in fields or {"image", "label"} <= set(fields)):
        raise UserError(
            f"{title} needs features alpha and image (or foreground), image and label, or "
            f"background; its pictures are: {listed}"
        )
    return fields


def _data_source(builder: Any, split: str, pictures: Mapping[str, Any]) -> Any:
    skipped = {name: tfds.decode.SkipDecoding() for name in pictures}
    return builder.as_data_source(split, decoders=skipped)


def _files(builder: Any, split: str) -> list[tuple[pathlib.Path, int, int]]:
    """The files of a split, with the first record and the number of records used of each."""
    title, files = builder.info.full_name, []
    try:
        instructions = builder.info.splits[split].file_instructions
    except (ValueError, KeyError) as error:
        there = ", ".join(builder.info.splits)
        raise UserError(
            f"{title} has no split {split!r} ({_first_line(error)}); there are: {there}"
        ) from None
    for instruction in instructions:
        path = pathlib.Path(instruction.filename)
        if not path.exists():
            raise UserError(f"{path} is missing; prepare {title} again")
        files.append((path, instruction.skip, instruction.take))
    if not files:
        raise UserError(f"{title} has no rows in {split!r}")
    return files


def _colours(content: bytes, what: str) -> np.ndarray:
    return sources.decode(content, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, what)


def _grey(content: bytes, what: str) -> np.ndarray:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    return sources.to_grey(sources.decode(content, flags, what), what)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
