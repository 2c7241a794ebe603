"""The prepared form of a set, written by `prepare`: fast at random, never out of order.

A store is a folder:

    data-00000-of-00012.array_record ...   one record for each plane of each row: the plane (see
                    `codec`), and its CRC-32 as a stamp
    index.npz       of each row: name, size, shard; of each plane: record, length, CRC-32
    manifest.json   what was made of what, the digests of all files; written last, at once

A folder without a whole manifest is no store. Opening compares the index's digest and the sizes of
the shards. When a record is read, ArrayRecord itself compares its bytes with a hash of 64 bits, so
that damage is found; here its length and its stamp are compared with the index's, so that a shard
that was exchanged or taken from another store is found. The CRC itself is not computed again: it
would cost as much as the reading. `verify` reads everything.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from jaxmatte.data import codec
from jaxmatte.data.rows import Plane, Row
from jaxmatte.errors import BrokenData, UserError

FORMAT = 2  # raised when a store of today could not be read, or would be read wrongly, tomorrow
MANIFEST, INDEX = "manifest.json", "index.npz"
UNFINISHED = "unfinished"  # the folder that a store has while it is written

# No reading ahead, and a buffer that a record soon outgrows: measured best for single records.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER = 32768
_OPEN_SHARDS = 256  # a quarter of the files that a process may usually have open
_MISSING = -1  # the record of a plane that a row lacks
STAMP_BYTES = 4  # at the end of a record


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the planes of R rows lie, F fields wide.

    Attributes:
        names: UTF-8, one after the other.
        name_ends: [R], where each ends.
        sizes: [R,2], height and width.
        shards: [R], the number of the shard.
        records: [R,F], the number in the shard; -1 where the row lacks the field.
        lengths: [R,F], bytes.
        checksums: [R,F], CRC-32.
    """

    names: np.ndarray
    name_ends: np.ndarray
    sizes: np.ndarray
    shards: np.ndarray
    records: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Any]], fields: Sequence[str]) -> "Index":
        """The index of rows in their order, each with the number of its shard.

        Args:
            rows: Shard and `{"name", "size", "planes": {field: [record, length, checksum]}}`.
            fields: All that any row has.
        """
        names = [row["name"].encode(errors="surrogateescape") for _, row in rows]
        absent = [_MISSING, 0, 0]
        planes = np.array(
            [[row["planes"].get(field, absent) for field in fields] for _, row in rows], np.int64
        )
        return cls(
            names=np.frombuffer(b"".join(names), np.uint8),
            name_ends=np.cumsum([len(name) for name in names]),
            sizes=np.array([row["size"] for _, row in rows], np.int32),
            shards=np.array([shard for shard, _ in rows], np.int32),
            records=planes[..., 0].astype(np.int32),
            lengths=planes[..., 1],
            checksums=planes[..., 2].astype(np.uint32),
        )

    @classmethod
    def of_bytes(cls, content: bytes) -> "Index":
        """Reads what `to_bytes` gave."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in dataclasses.fields(cls)})

    def to_bytes(self) -> bytes:
        """The same bytes for the same index."""
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        return buffer.getvalue()

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, row: int) -> str:
        """What a person calls a row."""
        start = int(self.name_ends[row - 1]) if row else 0
        name = self.names[start : int(self.name_ends[row])].tobytes()
        return name.decode(errors="surrogateescape")  # names of files may be any bytes


class Store:
    """A source (see `sources.Source`) of the rows of a store; may be pickled and shared by threads.

    Attributes:
        path: The folder.
        manifest: What `prepare` wrote about it.
        fields: Every field that a row may have; `field in row` says what one has.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens the folder; what does not belong together is refused, by name."""
        self.path = pathlib.Path(path).absolute()
        self.manifest = read_manifest(self.path)
        self.fields = tuple(self.manifest["fields"])
        self._columns = {field: column for column, field in enumerate(self.fields)}
        self._index = _read_index(self.path, self.manifest)
        self._files = [self.path / shard["file"] for shard in self.manifest["shards"]]
        complaints = [_wrong_size(self.path, shard) for shard in self.manifest["shards"]]
        if any(complaints):
            first = next(filter(None, complaints))
            count = sum(map(bool, complaints))
            more = f" (and {count - 1} more shards)" if count > 1 else ""
            raise UserError(f"{first}{more}; restore the file, or prepare the store again")
        self._readers = _Readers()

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Row:
        """A row; nothing is read yet."""
        index = self._checked(index)
        there = (self._index.records[index] != _MISSING).tolist()
        fields = tuple(itertools.compress(self.fields, there))
        return Row(index, self.name(index), self.size(index), _Planes(self, index, fields))

    def name(self, index: int) -> str:
        """What a person calls a row."""
        return self._index.name(self._checked(index))

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row."""
        height, width = self._index.sizes[self._checked(index)].tolist()
        return height, width

    @property
    def has_trimaps(self) -> bool:
        """Whether every row has the `trimap` of its set."""
        column = self._columns.get("trimap")
        return column is not None and bool((self._index.records[:, column] != _MISSING).all())

    @property
    def denoiser(self) -> dict[str, float] | None:
        """The parameters of the denoised planes; None where there are none."""
        return self.manifest["made"]["denoiser"]

    @property
    def fingerprint(self) -> str:
        """One line that changes with any byte of the store."""
        return str(self.manifest["fingerprint"])

    def plane(self, index: int, field: str) -> Plane:
        """A plane of a row, fetched but not decoded."""
        content = self.content(index, field)
        try:
            return codec.plane(content)
        except BrokenData as error:
            raise BrokenData(self._complaint(index, field, str(error))) from None

    def content(self, index: int, field: str) -> memoryview:
        """The coded plane of a row, as it was written; nothing is copied.

        Raises:
            BrokenData: where the record cannot be read or is another.
        """
        index, column = self._checked(index), self._columns[field]
        path = self._files[self._index.shards[index]]
        try:
            records = self._readers.of(path).read([int(self._index.records[index, column])])
        except (RuntimeError, OSError) as error:
            self._readers.drop(path)
            raise BrokenData(self._complaint(index, field, _first_line(error))) from None
        content, stamp = _parted(records[0])
        if (
            len(content) != self._index.lengths[index, column]
            or stamp != self._index.checksums[index, column]
        ):
            self._readers.drop(path)
            # Of a file that was cut off while it is open, ArrayRecord gives records of no bytes.
            reason = "it is the record of another plane" if records[0] else "its record is empty"
            raise BrokenData(self._complaint(index, field, reason))
        return content

    def _complaint(self, index: int, field: str, reason: str) -> str:
        return (
            f"{self._files[self._index.shards[index]]}: the {field} of row {index} "
            f"({self.name(index)}) is not what was written there: {reason}"
        )

    def _checked(self, index: int) -> int:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)} in {self.path}")
        return index

    def __repr__(self) -> str:
        return f"Store({self.path})"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "fingerprint": self.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
        if self.fingerprint != state["fingerprint"]:
            raise UserError(
                f"{self.path} was prepared anew while it was in use: it was "
                f"{state['fingerprint']} and is {self.fingerprint}"
            )


def stamped(content: bytes) -> tuple[bytes, int]:
    """The record of a coded plane, and the stamp in it, its CRC-32."""
    stamp = zlib.crc32(content)
    return content + stamp.to_bytes(STAMP_BYTES, "little"), stamp


def _parted(record: bytes) -> tuple[memoryview, int]:
    """The coded plane and the stamp of a record."""
    content = memoryview(record)[:-STAMP_BYTES]
    return content, int.from_bytes(record[-STAMP_BYTES:], "little")


class _Planes(Mapping[str, Plane]):
    """The planes of a row, each fetched and compared with its stamp when first asked for."""

    def __init__(self, store: Store, index: int, fields: tuple[str, ...]):
        self._store, self._index, self._fields = store, index, fields
        self._fetched: dict[str, Plane] = {}

    def __getitem__(self, field: str) -> Plane:
        if field not in self._fields:
            raise KeyError(field)
        if field not in self._fetched:
            self._fetched[field] = self._store.plane(self._index, field)
        return self._fetched[field]

    def __contains__(self, field: object) -> bool:
        return field in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class _Readers:
    """Open shards, the ones used last: a reader may be shared by threads, not by processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, pathlib.Path], ArrayRecordReader] = {}

    def of(self, path: pathlib.Path) -> ArrayRecordReader:
        key = (os.getpid(), path)
        with self._lock:
            reader = self._open.pop(key, None) or ArrayRecordReader(
                str(path), options=_READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER
            )
            self._open[key] = reader
            if len(self._open) > _OPEN_SHARDS:
                del self._open[next(iter(self._open))]
        return reader

    def drop(self, path: pathlib.Path) -> None:
        """Opens the file anew next time: it may have been mended."""
        with self._lock:
            self._open.pop((os.getpid(), path), None)


def is_store(path: pathlib.Path) -> bool:
    """Whether a folder is a store, or will be one: `Store` then says what it lacks."""
    return (path / MANIFEST).exists() or (path / UNFINISHED).is_dir()


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """The manifest of a finished store, or why the folder is none."""
    if not path.is_dir():
        raise UserError(f"no folder {path}; a store is made by `python -m jaxmatte.data prepare`")
    file = path / MANIFEST
    if not file.exists():
        raise UserError(
            f"{path} has no {MANIFEST}: it is no store, or preparing it has not finished; "
            "`python -m jaxmatte.data prepare` makes one, or goes on where it stopped"
        )
    try:
        manifest = json.loads(file.read_bytes())
        if manifest["format"] != FORMAT:
            raise UserError(
                f"{path} has form {manifest['format']}, this version reads form {FORMAT}; "
                "prepare it again"
            )
        told, rest = manifest["fingerprint"], dict(manifest)
        del rest["fingerprint"]
        if told != fingerprint(rest):
            raise UserError(f"{file} was changed after it was written; prepare the store again")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error!r}); prepare the store again") from None
    return manifest


def fingerprint(manifest: dict[str, Any]) -> str:
    """What a manifest, less its own fingerprint, comes down to."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return f"store:{manifest['made']['set']}:{manifest['rows']}:{digest[:16]}"


def _read_index(path: pathlib.Path, manifest: dict[str, Any]) -> Index:
    file, told = path / INDEX, manifest["index"]
    content = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        state = "is not the index of this store" if content else "is missing"
        raise UserError(f"{file} {state}; restore the file, or prepare the store again")
    return Index.of_bytes(content)


def _wrong_size(path: pathlib.Path, shard: dict[str, Any]) -> str | None:
    file = path / shard["file"]
    if not file.exists():
        return f"{file} is missing"
    size = file.stat().st_size
    if size != shard["bytes"]:
        return f"{file} has {size} bytes and was written with {shard['bytes']}"
    return None


def digest(file: pathlib.Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def verify(
    path: str | os.PathLike, progress: Callable[[Sequence], Any] = lambda shards: shards
) -> list[str]:
    """Reads every byte of a store.

    Args:
        path: The folder.
        progress: Goes through the shards and tells how far it is, such as tqdm.

    Returns:
        A line for each shard that is not as it was written, with the rows it takes along.
    """
    store, complaints = Store(path), []
    for shard in progress(store.manifest["shards"]):
        file = store.path / shard["file"]
        if digest(file) == shard["sha256"]:
            continue
        broken = []
        for row in range(*shard["rows"]):
            try:
                for field in store[row].planes:
                    store.content(row, field)
            except BrokenData:
                broken.append(store.name(row))
        rows = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        found = f"{len(broken)} of its rows cannot be read: {rows}" if broken else "all rows read"
        complaints.append(f"{file} is not as it was written; {found}")
    return complaints


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
