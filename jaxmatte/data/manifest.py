"""What a folder holds, remembered: listing 200,000 files anew at every start would take minutes.

A manifest lies in the user's cache folder. It holds while no directory below its folder has another
time of change. A file that is overwritten under its own name does not change its directory; so the
files are asked for their bytes too, but no longer than `PATIENCE`: a local disk answers for 200,000
in half a second, and on a network file system a question a file is what is slow.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jaxmatte.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VERSION = 1  # of the cache files
THREADS = 16  # they wait for the disk or the network, not for the processor
PATIENCE = 1.0  # seconds in which files are asked whether they are as they were
_FEW, _CHUNK = 32, 2048  # questions at a time: before threads are called in, and by a thread
# Seconds a question: below this, handing the interpreter from thread to thread costs more than
# waiting for the answer. And seconds that a short delay may take before threads are called in.
_QUICK, _GRACE = 5e-5, 0.02
# A directory changed this shortly before it was listed may change again without a new time.
_RACY = 2_000_000_000  # nanoseconds

State = tuple[int, int]  # bytes and time of change of a file
Size = tuple[int, int]  # height and width


@dataclasses.dataclass(frozen=True)
class Files:
    """Paths of one folder, each made when it is asked for: 200,000 of them take seconds."""

    folder: pathlib.Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> pathlib.Path:
        return self.folder / self.names[index]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of a folder, by name.

    Attributes:
        folder: The folder.
        names: Relative to the folder, with "/", sorted.
        bytes: Of each file.
        fingerprint: Changes when a file comes, goes, is renamed or has another number of bytes;
            the same for a copy of the folder elsewhere.
    """

    folder: pathlib.Path
    names: tuple[str, ...]
    bytes: tuple[int, ...]
    fingerprint: str
    _store: pathlib.Path = dataclasses.field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> "Files":
        """The files' paths."""
        return Files(self.folder, self.names)

    def sizes(self, read_size: Callable[[pathlib.Path], Size]) -> np.ndarray:
        """Heights and widths [N,2] int32, from the files' headers; each is read once and kept.

        Args:
            read_size: Gives the height and width of a file. What it raises is passed on.
        """
        states = _ask(_state, _paths(self.folder, self.names))
        kept = _load_sizes(self._store)
        known = [kept.get(name, ((), ())) for name in self.names]
        unread = [
            name
            for name, state, (then, _) in zip(self.names, states, known, strict=True)
            if then != state
        ]
        read = _ask(lambda name: read_size(self.folder / name), unread)
        fresh = dict(zip(unread, read, strict=True))
        sizes = [fresh.get(name, size) for name, (_, size) in zip(self.names, known, strict=True)]
        if unread:
            table = zip(self.names, zip(states, sizes, strict=True), strict=True)
            _write(_sizes_file(self._store), dict(table))
        return np.array(sizes, np.int32).reshape(-1, 2)


def scan(
    folder: pathlib.Path | str, suffixes: Iterable[str] = PICTURES, recursive: bool = False
) -> Manifest:
    """Lists a folder's files, from the cache where no directory has changed since.

    Args:
        folder: Where to look.
        suffixes: Endings that count, in any case. Names that begin with a dot never count.
        recursive: Whether to look into the folders below, also through links.

    Raises:
        UserError: where the folder is not there or may not be read.
    """
    folder = pathlib.Path(folder)
    endings = tuple(sorted({suffix.lower() for suffix in suffixes}))
    try:
        return _scan(folder, endings, recursive)
    except FileNotFoundError as error:
        if folder.is_dir():
            raise UserError(f"{error.filename} went while {folder} was listed") from None
        raise UserError(f"no folder {folder}") from None
    except NotADirectoryError:
        raise UserError(f"{folder} is not a folder") from None
    except PermissionError as error:
        raise UserError(f"may not read {error.filename or folder}; change its rights") from None


def stem(name: str) -> str:
    """A file's name without its ending, by which files of several folders belong together."""
    return os.path.splitext(name)[0]


def cache_folder() -> pathlib.Path:
    """Where manifests are kept."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(given) / "jaxmatte" / "manifests"
    try:
        return pathlib.Path.home() / ".cache" / "jaxmatte" / "manifests"
    except RuntimeError:  # a user without a home, as containers have them
        return pathlib.Path(tempfile.gettempdir()) / f"jaxmatte-{os.getuid()}" / "manifests"


def _scan(folder: pathlib.Path, endings: tuple[str, ...], recursive: bool) -> Manifest:
    key = json.dumps([str(folder.resolve(strict=True)), endings, recursive])
    store = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    kept = _read(store)
    if kept and kept["key"] == key and _unchanged(folder, kept):
        return Manifest(
            folder, tuple(kept["names"]), tuple(kept["bytes"]), kept["fingerprint"], store
        )
    begun = time.time_ns()
    directories, names = _walk(folder, endings, recursive)
    counts = [state[0] for state in _ask(_state, _paths(folder, names))]
    fingerprint = _fingerprint(names, counts)
    _write(
        store,
        {
            "key": key,
            "scanned": begun,
            "directories": directories,
            "names": names,
            "bytes": counts,
            "fingerprint": fingerprint,
        },
    )
    return Manifest(folder, tuple(names), tuple(counts), fingerprint, store)


def _unchanged(folder: pathlib.Path, kept: dict[str, Any]) -> bool:
    """Whether every directory has the time of change that was kept, and it can be trusted."""
    directories = kept["directories"]
    if any(changed > kept["scanned"] - _RACY for changed in directories.values()):
        return False
    try:
        now = _ask(lambda path: os.stat(path).st_mtime_ns, _paths(folder, directories))
        return now == list(directories.values()) and _same_bytes(folder, kept)
    except OSError:
        return False


def _same_bytes(folder: pathlib.Path, kept: dict[str, Any]) -> bool:
    """Whether the files have the bytes they had, as far as there is time to ask."""
    until = time.monotonic() + PATIENCE

    def same(file: tuple[str, int]) -> bool:
        return time.monotonic() > until or os.stat(file[0]).st_size == file[1]

    files = zip(_paths(folder, kept["names"]), kept["bytes"], strict=True)
    return all(_ask(same, list(files)))


def _walk(
    folder: pathlib.Path, endings: tuple[str, ...], recursive: bool
) -> tuple[dict[str, int], list[str]]:
    """Times of change of the directories, taken before they were listed, and the files' names."""
    directories: dict[str, int] = {}
    names: list[str] = []
    above: frozenset[tuple[int, int]] = frozenset()
    waiting = [("", above)]
    while waiting:
        inside, above = waiting.pop()
        status = os.stat(folder / inside)
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a link to a folder that holds it
            continue
        directories[inside] = status.st_mtime_ns
        prefix = f"{inside}/" if inside else ""
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):  # among them the "._" files of foreign archives
                    continue
                if entry.name.lower().endswith(endings) and _is_file(entry):
                    names.append(prefix + entry.name)
                elif recursive and not _leads_nowhere(entry) and entry.is_dir():
                    waiting.append((prefix + entry.name, above | {identity}))
    return directories, sorted(names)


def _is_file(entry: os.DirEntry) -> bool:
    """Also of a link that leads nowhere: whoever reads it is told, nothing goes missing quietly."""
    return _leads_nowhere(entry) or entry.is_file()


def _leads_nowhere(entry: os.DirEntry) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _paths(folder: pathlib.Path, names: Iterable[str]) -> list[str]:
    """As text: to make a path object takes longer than to ask the disk about the file."""
    return [f"{folder}/{name}" for name in names]


def _state(path: str) -> State:
    try:
        status = os.stat(path)
    except OSError:
        status = os.lstat(path)  # a link that leads nowhere
    return status.st_size, status.st_mtime_ns


def _ask(question: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The answer for each item, in order: by threads from where answers let wait for them."""
    answers: list[Any] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < _GRACE + _QUICK * len(answers):
        few = items[len(answers) : len(answers) + _FEW]
        if not few:
            return answers
        answers += map(question, few)
    rest = items[len(answers) :]
    step = min(_CHUNK, -(-len(rest) // THREADS)) or 1
    chunks = [rest[start : start + step] for start in range(0, len(rest), step)]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(lambda chunk: list(map(question, chunk)), chunks)
        return answers + [answer for part in parts for answer in part]


def _fingerprint(names: Sequence[str], counts: Sequence[int]) -> str:
    """No times and no place: machines that share a run have copies of their own."""
    lines = (f"{name}\t{count}" for name, count in zip(names, counts, strict=True))
    digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
    return f"{len(names)}:{digest[:16]}"


def _sizes_file(store: pathlib.Path) -> pathlib.Path:
    return store.with_suffix(".sizes.json")


def _load_sizes(store: pathlib.Path) -> dict[str, tuple[State, Size]]:
    """By name: the state of the file when it was read, and its height and width."""
    table = _read(_sizes_file(store)) or {}
    return {name: ((s[0], s[1]), (z[0], z[1])) for name, (s, z) in table.items()}


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """The content of a cache file; None where there is none or it is damaged."""
    try:
        head, body = path.read_bytes().split(b"\n", 1)
        if head == _head(body):
            return json.loads(body)
    except (OSError, ValueError):
        pass
    return None


def _write(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Replaces a cache file in one go; a cache that cannot be written is done without."""
    body = json.dumps(content).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_head(body) + b"\n" + body)
        os.replace(name, path)
    except OSError:
        pathlib.Path(name).unlink(missing_ok=True)


def _head(body: bytes) -> bytes:
    return f"jaxmatte manifest {VERSION} {zlib.crc32(body):08x}".encode()
