"""Sources around a source: they add planes to its rows, or keep them."""

import collections
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from jaxmatte.data.rows import Plane, Row
from jaxmatte.data.sources import File, Source, list_pictures, read_colour
from jaxmatte.errors import UserError


class Around:
    """A source of the same rows as another one, to which it adds."""

    def __init__(self, source: Source):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """What a person calls a row."""
        return self.source.name(index)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row, without decoding it."""
        return self.source.size(index)

    @property
    def has_trimaps(self) -> bool:
        """Whether rows have `trimap`."""
        return self.source.has_trimaps

    @property
    def fingerprint(self) -> str:
        """Changes when a row does."""
        return self.source.fingerprint


def with_planes(row: Row, more: Mapping[str, Plane]) -> Row:
    """A row with planes beside its own, or in their place."""
    # A chain asks for nothing before it is needed: a store's planes are read when looked up.
    planes: Mapping[str, Plane] = collections.ChainMap(more, row.planes)  # type: ignore
    return Row(row.index, row.name, row.size, planes)


class Denoised(Around):
    """A source whose rows also have what a denoiser made of them: files of the same names."""

    def __init__(self, source: Source, folder: pathlib.Path, field: str, option: str):
        """Pairs the files with the rows; rows without one stay as they are.

        Args:
            source: The rows.
            folder: The denoised pictures.
            field: What was denoised: foreground or background.
            option: What names the folder in the configuration, for messages.
        """
        listed = list_pictures(folder, option)
        files = {
            str(pathlib.PurePath(name).with_suffix("")): folder / name for name in listed.names
        }
        names = (source.name(index) for index in range(len(source)))
        super().__init__(source)
        self.field = f"denoised_{field}"
        self._files = [files.get(str(pathlib.PurePath(name).with_suffix(""))) for name in names]
        self._listed = listed.fingerprint
        lonely = self._files.count(None)
        if lonely == len(self._files):
            raise UserError(
                f"no picture in {folder} (config.{option}) has the name of a row, such as "
                f"{source.name(0)}"
            )
        if lonely:
            print(
                f"warning: {lonely} of {len(source)} rows have no picture in {folder}; they are "
                "used as they are",
                file=sys.stderr,
            )

    def __getitem__(self, index: int) -> Row:
        row, path = self.source[index], self._files[index]
        if path is None:
            return row
        return with_planes(row, {self.field: File(path, read_colour)})

    @property
    def fingerprint(self) -> str:
        """Changes when a row or a denoised picture does."""
        return f"{self.source.fingerprint}+{self.field}:{self._listed}"


class Cached:
    """Keeps every row of a source in memory once it has been read."""

    def __init__(self, source: Any):
        self.source = source
        self._rows: dict[int, Row] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Row:
        if index not in self._rows:
            self._rows[index] = self.source[index]
        return self._rows[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "source":  # unpickling asks before they are there
            raise AttributeError(name)
        return getattr(self.source, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "_rows": {}}  # a worker starts with nothing kept
