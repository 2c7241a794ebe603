"""`python -m jaxmatte.data prepare NAME ROOT OUT`: a set of the catalog becomes a store."""

import argparse
import concurrent.futures
import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import cv2
from tqdm import tqdm

from jaxmatte import terminal
from jaxmatte.data import catalog, shards, store
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.precompute import COLOURS, Settings, code_row
from jaxmatte.data.shards import Broken, Coded, Part, Unfinished
from jaxmatte.data.sources import Source
from jaxmatte.errors import UserError
from jaxmatte.terminal import printable

SHARD_BYTES = 256 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `prepare`."""
    parser.description = (
        "Writes a set in the form that trains fastest. May be killed at any time: the same command "
        "goes on where it stopped, and the store is the same, byte for byte."
    )
    parser.add_argument("name", help="the set, by its name in the catalog")
    parser.add_argument("root", help="where your copy of the set lies")
    parser.add_argument("out", type=pathlib.Path, help="folder of the store; new or empty")
    parser.add_argument("--split", default="", help="default: the first of the set")
    parser.add_argument(
        "--colour",
        default=Settings.colour,
        choices=COLOURS,
        help="tiles of JPEG or PNG, decoded in part; or the files' own bytes, decoded whole (png "
        "for colours that are no file of their own). default: %(default)s",
    )
    parser.add_argument(
        "--foregrounds",
        action="store_true",
        help="estimate straight foreground colours where the set has none, for composition; takes "
        "120 bytes of memory a pixel and worker",
    )
    parser.add_argument(
        "--backgrounds",
        action="store_true",
        help="estimate what lies behind them too, for training on pictures as photographed",
    )
    parser.add_argument(
        "--trimap",
        type=int,
        default=Settings.trimap,
        metavar="SIZE",
        help="store the trimap of GFM's kernel of this size; 0: none. default: %(default)s",
    )
    parser.add_argument(
        "--band",
        type=int,
        default=Settings.band,
        metavar="SIZE",
        help="store dilation and erosion of this size, GFM's targets of FT and BT (there 50); "
        "0: none. default: %(default)s",
    )
    _add_denoiser(parser)
    parser.add_argument(
        "--max-side",
        type=int,
        default=Settings.longest,
        metavar="PIXELS",
        help="shrink larger pictures until their longer side is this; 0: keep all as they are. "
        "default: %(default)s",
    )
    parser.add_argument(
        "--shard-mb",
        type=int,
        default=SHARD_BYTES >> 20,
        metavar="MB",
        help="size of a file of the store. default: %(default)s",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=terminal.cores(),
        metavar="COUNT",
        help="threads. default: the cores, %(default)s here",
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave unreadable rows out, and say so"
    )
    parser.add_argument(
        "--verify", action="store_true", help="only read every byte of the finished store OUT"
    )


def _add_denoiser(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("denoising (RSSN), by non-local means; takes seconds a row")
    group.add_argument(
        "--denoise",
        action="store_true",
        help="also store denoised foreground colours (estimated where the set has none) and "
        "denoised backgrounds",
    )
    default = Denoiser()
    for name, kind, metavar, meaning in (
        ("strength", float, "LEVELS", "on lightness, about the noise's standard deviation"),
        ("colour", float, "LEVELS", "on colours"),
        ("patch", int, "PIXELS", "side of the patches that are compared, odd"),
        ("search", int, "PIXELS", "side of the window that is searched, odd"),
    ):
        group.add_argument(
            f"--denoise-{name}",
            type=kind,
            default=getattr(default, name),
            metavar=metavar,
            help=f"{meaning}. default: %(default)s",
        )


def run(arguments: argparse.Namespace) -> int:
    """Does what the flags say; the exit code is 1 where rows or bytes are broken."""
    if arguments.verify:
        return _verify(arguments.out)
    settings = Settings(
        colour=arguments.colour,
        foregrounds=arguments.foregrounds,
        backgrounds=arguments.backgrounds,
        trimap=arguments.trimap,
        band=arguments.band,
        denoiser=_denoiser(arguments) if arguments.denoise else None,
        longest=arguments.max_side,
    )
    if arguments.workers < 1 or arguments.shard_mb < 1:
        raise UserError("--workers and --shard-mb must be 1 or more")
    entry = catalog.get(arguments.name)
    _, split, _ = catalog.find(entry, arguments.root, arguments.split)
    source = catalog.open(entry.name, arguments.root, split)
    plan = make_plan(source, entry.name, split, settings, arguments.shard_mb << 20)
    broken = prepare(
        source, arguments.out, plan, settings, arguments.workers, arguments.skip_broken
    )
    return 1 if broken and not arguments.skip_broken else 0


def _denoiser(arguments: argparse.Namespace) -> Denoiser:
    names = [field.name for field in dataclasses.fields(Denoiser)]
    return Denoiser(**{name: getattr(arguments, f"denoise_{name}") for name in names})


def make_plan(
    source: Source, name: str, split: str, settings: Settings, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """All that the bytes of a store depend on; the manifest keeps it as `made`."""
    return {
        "format": store.FORMAT,
        "set": name,
        "split": split,
        "source": source.fingerprint,
        "rows": len(source),
        "shard_bytes": shard_bytes,
        "opencv": cv2.__version__,
        **dataclasses.asdict(settings),
    }


def prepare(
    source: Source,
    out: pathlib.Path,
    plan: dict[str, Any],
    settings: Settings,
    workers: int = 1,
    skip_broken: bool = False,
) -> list[Broken]:
    """Writes a store, or goes on with it, or finds it finished.

    Args:
        source: The rows.
        out: The folder of the store.
        plan: Of `make_plan`.
        settings: What is stored, and how.
        workers: Threads that read and code rows.
        skip_broken: Whether a store may lack rows that cannot be read.

    Returns:
        The rows that could not be read. Where there are any, and they may not be lacking, the store
        stays unfinished.
    """
    if not len(source):
        raise UserError(
            f"{plan['set']} has no rows in {plan['split']}; there is nothing to prepare"
        )
    if (out / store.MANIFEST).exists():
        return _found(out, plan, skip_broken)
    unfinished = Unfinished(out, plan)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # the threads are ours
    try:
        parts = _write_shards(source, unfinished, settings, workers, skip_broken)
        broken = [Broken(**row) for part in parts for row in part.broken]
        _report(broken, len(source), out, skip_broken)
        if broken and not skip_broken:
            return broken
        if not any(part.rows for part in parts):
            raise UserError(f"no row of {plan['set']} could be read; nothing was prepared")
        fingerprint = unfinished.finish(parts)
    finally:
        cv2.setNumThreads(threads)
        unfinished.close()
    rows_kept, size = len(source) - len(broken), sum(part.bytes for part in parts)
    print(f"{out}: {rows_kept} rows, {size / 1e6:.1f} MB, {fingerprint}")
    return broken


def _found(out: pathlib.Path, plan: dict[str, Any], skip_broken: bool) -> list[Broken]:
    """The store is there already: of the same, or refused."""
    there = store.Store(out)
    shards.refuse_other(out, there.manifest["made"], plan)
    broken = [Broken(**row) for row in there.manifest["skipped"]]
    if broken and not skip_broken:
        names = ", ".join(row.name for row in broken[:5])
        raise UserError(
            f"{out} was prepared without {len(broken)} rows that could not be read ({names}); "
            "remove it to try them again, or give --skip-broken"
        )
    shutil.rmtree(out / store.UNFINISHED, ignore_errors=True)  # killed at the very end
    print(f"{out} is finished already: {len(there)} rows, {there.fingerprint}")
    return broken


def _write_shards(
    source: Source, unfinished: Unfinished, settings: Settings, workers: int, skip_broken: bool
) -> list[Part]:
    parts: list[Part] = []
    start = 0
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        _Ahead(pool, source, settings, workers) as coded,
        tqdm(total=len(source), unit="row", desc=str(unfinished.out), smoothing=0.05) as progress,
    ):
        while start < len(source):
            number, left = len(parts), len(source) - start
            part = unfinished.part(number, start)
            if part is None or (part.broken and not skip_broken):
                batch = _shard_rows(coded, start, unfinished.plan["shard_bytes"], progress)
                part = unfinished.write(number, start, batch, left)
            else:
                progress.initial += part.stop - start  # or the time left would be too short
                progress.update(part.stop - start)
            parts.append(part)
            start = part.stop
    return parts


def _shard_rows(
    coded: "_Ahead", start: int, target: int, progress: tqdm
) -> Iterator[Coded | Broken]:
    """Rows from `start` on until they fill a shard: the same ones whenever it is begun anew."""
    size, row = 0, start
    while row < len(coded) and size < target:
        result = coded[row]
        size += result.bytes if isinstance(result, Coded) else 0
        yield result
        progress.update()
        row += 1


class _Ahead:
    """Rows coded by a pool of threads, a few before they are asked for."""

    def __init__(
        self,
        pool: concurrent.futures.ThreadPoolExecutor,
        source: Source,
        settings: Settings,
        workers: int,
    ):
        self._pool, self._source, self._settings = pool, source, settings
        self._count = 2 * workers
        self._begun: dict[int, concurrent.futures.Future[Coded | Broken]] = {}

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._begun.values():
            future.cancel()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Coded | Broken:
        for coming in range(row, min(row + self._count, len(self))):
            if coming not in self._begun:
                self._begun[coming] = self._pool.submit(
                    code_row, self._source, coming, self._settings
                )
        return self._begun.pop(row).result()


def _report(broken: list[Broken], count: int, out: pathlib.Path, skip_broken: bool) -> None:
    """Names the rows that could not be read."""
    if not broken:
        return
    print(f"{len(broken)} of {count} rows could not be read:", file=sys.stderr)
    for row in broken:
        name = printable(row.name)
        line = row.reason if name in row.reason else f"{name}: {row.reason}"
        print(f"  {line}", file=sys.stderr)
    if not skip_broken:
        print(
            f"{out} is left unfinished: mend the files and prepare anew, or leave them out with "
            "--skip-broken",
            file=sys.stderr,
        )


def _verify(out: pathlib.Path) -> int:
    complaints = store.verify(out, lambda parts: tqdm(parts, unit="shard", desc=str(out)))
    for line in complaints:
        print(line, file=sys.stderr)
    if not complaints:
        print(f"{out} is whole: {store.Store(out).fingerprint}")
    return 1 if complaints else 0
