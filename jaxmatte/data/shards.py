"""Writing a store: shard by shard, so that it may be killed at any time and goes on.

While it is written, a store has a folder `unfinished`: `plan.json` says what is made of what; each
finished shard has a part, `NNNNN.json`, which says what it holds and is written after the shard is
safely on the disk. The shards get their names when all are there; then the index is written, and at
last the manifest, which makes the folder a store. Every file appears whole or not at all.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from jaxmatte.data import store
from jaxmatte.errors import UserError

# One record a group, since a group is read whole; the planes are compressed already.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKLESS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # file systems that keep nobody out
_RESERVE = 1 << 20  # bytes left alone on the disk, for the index and the manifest


@dataclasses.dataclass(frozen=True)
class Coded:
    """A row ready to be written."""

    row: int  # in the source
    name: str
    size: tuple[int, int]
    planes: dict[str, bytes]

    @property
    def bytes(self) -> int:
        """Of all planes."""
        return sum(map(len, self.planes.values()))


@dataclasses.dataclass(frozen=True)
class Broken:
    """A row that cannot be read."""

    row: int
    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Part:
    """A finished shard: the rows `start` to `stop` of the source, less the broken ones.

    Attributes:
        start: The first row.
        stop: The row after the last.
        bytes: Size of the file; 0 where all rows are broken, and there is no file.
        sha256: Of the file.
        rows: As `store.Index.of` wants them.
        broken: Rows that could not be read, as `dataclasses.asdict(Broken)`.
    """

    start: int
    stop: int
    bytes: int
    sha256: str
    rows: list[dict[str, Any]]
    broken: list[dict[str, Any]]


class Unfinished:
    """The store that is being written in a folder; one process at a time."""

    def __init__(self, out: pathlib.Path, plan: dict[str, Any]):
        """Begins a store, or goes on with one of the same plan.

        Args:
            out: The folder of the store; it may not exist yet.
            plan: All that the bytes of the store depend on; it goes into the manifest.
        """
        self.out, self.plan, self.folder = out, plan, out / store.UNFINISHED
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; a store is a folder")
        if not self.folder.exists() and out.exists() and any(out.iterdir()):
            raise UserError(f"{out} holds other files; name an empty folder, or a new one")
        with self.space():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
            self._take()
            if (out / store.MANIFEST).exists():  # since the caller looked
                self.close()
                raise UserError(f"{out} was finished by another process just now")
            file = self.folder / "plan.json"
            if file.exists():
                refuse_other(out, json.loads(file.read_bytes()), plan)
            write_file(file, _json(plan))

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.out} is being prepared by another process") from None
        except OSError as error:
            if error.errno not in _LOCKLESS:
                raise

    def close(self) -> None:
        """Lets another process go on."""
        self._lock.close()

    def part(self, number: int, start: int) -> Part | None:
        """A shard that is finished and begins with the row `start` of the source."""
        file, shard = self._part_file(number), self._shard_file(number)
        if not file.exists():
            return None
        part = Part(**json.loads(file.read_bytes()))
        whole = shard.exists() and shard.stat().st_size == part.bytes
        return part if part.start == start and (whole or not part.bytes) else None

    def write(self, number: int, start: int, rows: Iterable[Coded | Broken], left: int) -> Part:
        """Writes a shard of consecutive rows.

        Args:
            number: Of the shard.
            start: The first row.
            rows: All that belong into it.
            left: Rows of the source from `start` on, to tell how much space is wanted.
        """
        self._part_file(number).unlink(missing_ok=True)
        written: list[dict[str, Any]] = []
        broken: list[dict[str, Any]] = []
        target = self.folder / f"{number:05d}.array_record"
        temporary = target.with_suffix(".tmp")
        with self.space(written, left):
            try:
                self._write_records(temporary, rows, written, broken)
                size = _commit(temporary, target) if written else 0
            except BaseException:
                temporary.unlink(missing_ok=True)  # before the space that is left is told
                raise
        sha256 = store.digest(target) if size else ""
        stop = start + len(written) + len(broken)
        part = Part(start, stop, size, sha256, written, broken)
        with self.space(written, left):
            write_file(self._part_file(number), _json(dataclasses.asdict(part)))
        return part

    def _write_records(
        self,
        file: pathlib.Path,
        rows: Iterable[Coded | Broken],
        written: list[dict[str, Any]],
        broken: list[dict[str, Any]],
    ) -> None:
        record, writer = 0, None
        try:
            for row in rows:
                if isinstance(row, Broken):
                    broken.append(dataclasses.asdict(row))
                    continue
                if shutil.disk_usage(self.folder).free < row.bytes + _RESERVE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                writer = writer or ArrayRecordWriter(str(file), _WRITER_OPTIONS)
                planes = {}
                for field, content in sorted(row.planes.items()):
                    stamped, checksum = store.stamped(content)
                    writer.write(stamped)
                    planes[field] = [record, len(content), checksum]
                    record += 1
                written.append({"name": row.name, "size": list(row.size), "planes": planes})
        finally:
            if writer:
                writer.close()  # the first that tells of what went wrong in the background

    def finish(self, parts: list[Part]) -> str:
        """Makes the folder a store of the parts, and returns its fingerprint."""
        kept = [(number, part) for number, part in enumerate(parts) if part.rows]
        shards: list[dict[str, Any]] = []
        first = 0
        with self.space():
            for place, (number, part) in enumerate(kept):
                name = f"data-{place:05d}-of-{len(kept):05d}.array_record"
                os.replace(self._shard_file(number), self.out / name)
                stop = first + len(part.rows)
                shards.append(
                    {
                        "file": name,
                        "bytes": part.bytes,
                        "sha256": part.sha256,
                        "rows": [first, stop],
                    }
                )
                first = stop
            self._remove_strays({shard["file"] for shard in shards})
            rows = [(place, row) for place, (_, part) in enumerate(kept) for row in part.rows]
            manifest = self._manifest(rows, shards, [row for part in parts for row in part.broken])
            write_file(self.out / store.MANIFEST, _json(manifest, indent=1))
        # Whoever waits for the lock may have made it anew; what is left is removed another time.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
        return str(manifest["fingerprint"])

    def _manifest(
        self,
        rows: list[tuple[int, dict[str, Any]]],
        shards: list[dict[str, Any]],
        broken: list[dict[str, Any]],
    ) -> dict[str, Any]:
        """Writes the index and returns the manifest."""
        fields = sorted({field for _, row in rows for field in row["planes"]})
        index = self.out / store.INDEX
        write_file(index, store.Index.of(rows, fields).to_bytes())
        manifest = {
            "format": store.FORMAT,
            "made": self.plan,
            "rows": len(rows),
            "fields": fields,
            "skipped": broken,
            "shards": shards,
            "index": {"bytes": index.stat().st_size, "sha256": store.digest(index)},
        }
        return manifest | {"fingerprint": store.fingerprint(manifest)}

    def _remove_strays(self, names: set[str]) -> None:
        """Removes shards of an earlier end that has been gone back on."""
        for file in self.out.glob("data-*.array_record"):
            if file.name not in names:
                file.unlink()

    def _part_file(self, number: int) -> pathlib.Path:
        return self.folder / f"{number:05d}.json"

    def _shard_file(self, number: int) -> pathlib.Path:
        """Where a shard is: it has moved if the process was killed while it finished."""
        moved = sorted(self.out.glob(f"data-{number:05d}-of-*.array_record"))
        here = self.folder / f"{number:05d}.array_record"
        return moved[0] if moved and not here.exists() else here

    @contextlib.contextmanager
    def space(self, written: list[dict[str, Any]] | None = None, left: int = 0) -> Iterator[None]:
        """Makes of a full disk one line: what is free, what is wanted, how to go on."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            if not _is_full(error):
                if isinstance(error, OSError):
                    raise UserError(f"cannot write {self.out}: {error}") from None
                raise
            existing = next(p for p in (self.folder, *self.folder.parents) if p.exists())
            free = _readable(shutil.disk_usage(existing).free)
            done = sum(plane[1] for row in written or [] for plane in row["planes"].values())
            wanted = f"about {_readable(done * left // len(written))}" if written else "more"
            raise UserError(
                f"no space left for {self.out} ({_first_words(error)}): {free} are free and "
                f"{wanted} wanted; what is done is kept: make room and run the same command again"
            ) from None


def refuse_other(out: pathlib.Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises where a folder holds another store than the one that is wanted."""
    names = [name for name in wanted if wanted[name] != there.get(name)]
    names += [name for name in there if name not in wanted]
    if names:
        differences = "; ".join(
            f"{name} is {there.get(name)!r} there and {wanted.get(name)!r} now" for name in names
        )
        raise UserError(
            f"{out} holds another store: {differences}. Give another folder, or remove that one"
        )


def write_file(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all, and is on the disk when this returns."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        _commit(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _commit(temporary: pathlib.Path, path: pathlib.Path) -> int:
    """Brings a file to the disk and gives it its name; returns its size."""
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)
    return path.stat().st_size


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent, sort_keys=True).encode()


def _is_full(error: BaseException) -> bool:
    """Whether the disk or a quota is full; array_record tells by words alone."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(os.strerror(number) in str(error) for number in _FULL)


def _first_words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(os.strerror(number) for number in _FULL if os.strerror(number) in str(error))


def _readable(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
