"""The command: `python -m jaxmatte.trimap` makes trimaps of masks and coarse alphas on file."""

import argparse
import collections
import concurrent.futures
import functools
import pathlib
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from jaxmatte import terminal, trimap
from jaxmatte.data import manifest, sources
from jaxmatte.engine.writer import write_atomically
from jaxmatte.errors import BrokenData, UserError

_ABOUT = """\
Makes trimaps of masks or coarse alphas: 0 is background, 128 unknown, 255 foreground.
IN is a picture or a folder, with the folders below it; of a cut-out the alpha channel is
taken, of a palette every colour but the first. OUT is a PNG or a folder, where trimaps have
the names of their masks.

  adaptive  unknown is more where the border is soft or ragged, less along a hard edge, as
            shares of the subject's size
  fixed     a band of one width in pixels
  random    a band of a width that is drawn for each file: a file's trimap depends on its
            name in IN and the seed, not on what else is there

Exit code: 0: all is well; 1: some files are no masks, the others' trimaps are there;
2: no trimap could be made, or a mistake in the arguments."""
_READ = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = 16  # levels that the channels of a grey JPEG may differ by
_AHEAD = 4  # pictures a thread that wait for those before them
_SHOWN = 20  # files that are named on the terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments say; returns the exit code: see `_ABOUT`."""
    return terminal.exit_code(
        lambda: _run(_parser().parse_args(arguments)), "stopped; what is there is whole"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxmatte.trimap",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", type=pathlib.Path, help="a picture or a folder")
    parser.add_argument("output", metavar="OUT", type=pathlib.Path, help="a PNG or a folder")
    parser.add_argument("--method", default="adaptive", help="default: adaptive")
    parser.add_argument(
        "--size", type=terminal.count, help="fixed: of the ellipse, in pixels. default: 25"
    )
    parser.add_argument(
        "--sizes",
        type=terminal.count,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="random: range of the ellipses. default: 5 29",
    )
    parser.add_argument(
        "--iterations", type=terminal.count, help="fixed, random: times it is applied. default: 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="random: of what is drawn. default: 0")
    parser.add_argument(
        "--narrow", type=float, help="adaptive: reach along a hard edge. default: 0.02"
    )
    parser.add_argument("--wide", type=float, help="adaptive: the greatest reach. default: 0.08")
    parser.add_argument(
        "--certain",
        type=float,
        default=trimap.CERTAIN,
        help="share of alpha from which on a pixel is subject; up to the rest of it, background. "
        f"default: {trimap.CERTAIN}",
    )
    parser.add_argument(
        "--threads", type=terminal.count, metavar="COUNT", help="default: one a core"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} should be 0 or more")
    given = ("size", "sizes", "iterations", "narrow", "wide")
    chosen = {n: getattr(options, n) for n in given if getattr(options, n) is not None}
    maker: Maker = functools.partial(
        trimap.make, method=options.method, certain=options.certain, **chosen
    )
    maker(np.zeros((1, 1), bool))  # mistakes in the flags are told before files are looked at
    jobs = _jobs(options.input, options.output)
    with terminal.quiet_decoders() as screen:
        troubles = list(_in_threads(jobs, maker, options.seed, options.threads, screen))
    if troubles and len(jobs) == 1:
        raise UserError(troubles[0])
    for line in troubles[:_SHOWN]:
        print(f"warning: {line}", file=sys.stderr)
    if len(troubles) > _SHOWN:
        print(f"warning: and {len(troubles) - _SHOWN:,} files more", file=sys.stderr)
    if len(troubles) == len(jobs):
        raise UserError(f"no file of {options.input} is a mask")
    print(f"{options.output}: {len(jobs) - len(troubles):,} of {len(jobs):,} trimaps")
    return 1 if troubles else 0


Maker = Callable[..., np.ndarray]
Job = tuple[str, pathlib.Path, pathlib.Path]  # name in IN, where it lies, where its trimap goes


def _jobs(source: pathlib.Path, target: pathlib.Path) -> list[Job]:
    """What is to be made."""
    if source.is_dir():
        return _of_folder(source, target)
    if not source.exists():
        raise UserError(f"{source} is not there")
    if target.is_dir():
        target = target / f"{source.stem}.png"
    if target.suffix.lower() != ".png":
        raise UserError(f"{target} should end in .png, or be a folder that is there")
    if target.resolve() == source.resolve():
        raise UserError(f"{target} is the mask itself; give its trimap another name")
    return [(source.name, source, target)]


def _of_folder(source: pathlib.Path, target: pathlib.Path) -> list[Job]:
    there = next(path for path in (target, *target.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{target} cannot be a folder: {there} is a file")
    if target.suffix.lower() == ".png":
        raise UserError(f"{source} is a folder, so {target} should be one, not a picture")
    own, other = source.resolve(), target.resolve()
    if own == other:
        raise UserError(f"{target} holds the masks; trimaps need a folder of theirs")
    inside = f"{other.relative_to(own).as_posix()}/" if own in other.parents else None
    names = [
        name
        for name in manifest.scan(source, recursive=True).names
        if inside is None or not name.startswith(inside)  # of an earlier run
    ]
    if not names:
        raise UserError(f"{source} holds no pictures ({', '.join(manifest.PICTURES)})")
    by_stem: dict[str, str] = {}
    for name in names:
        if (first := by_stem.setdefault(manifest.stem(name), name)) != name:
            raise UserError(f"{first} and {name} in {source} would have one trimap; take one out")
    return [(n, source / n, target / f"{manifest.stem(n)}.png") for n in names]


def _in_threads(
    jobs: Sequence[Job],
    maker: Maker,
    seed: int,
    threads: int | None,
    screen: TextIO,
) -> Iterator[str]:
    """Makes all trimaps, with a bar on a screen; gives a line for each file that is no mask."""
    threads = threads or terminal.cores()
    waiting: collections.deque[concurrent.futures.Future[str]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    hidden = len(jobs) == 1 or not screen.isatty()
    bar = tqdm(total=len(jobs), desc="trimaps", file=screen, disable=hidden, leave=False)
    own = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads are ours
    try:
        with bar:
            for at, job in enumerate(jobs):
                waiting.append(pool.submit(_make, job, maker, seed))
                while waiting and (len(waiting) > _AHEAD * threads or at == len(jobs) - 1):
                    trouble = waiting.popleft().result()
                    bar.update()
                    if trouble:
                        yield trouble
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(own)


def _make(job: Job, maker: Maker, seed: int) -> str:
    """Makes one trimap; returns what is wrong with the file, or nothing."""
    name, source, target = job
    try:
        mask = read(source)
        made = maker(mask, seed=(seed, zlib.crc32(name.encode(errors="surrogateescape"))))
    except UserError as error:
        message = str(error)
        return terminal.printable(message if str(source) in message else f"{source}: {message}")
    try:
        write_atomically(target, cv2.imencode(".png", made)[1].tobytes())
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from None
    return ""


def read(path: pathlib.Path) -> np.ndarray:
    """A mask or an alpha [H,W] from a file, uint8 or uint16; of a palette the numbers.

    Raises:
        BrokenData: where it does not decode, or has colours.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenData(f"cannot read {path}: {error.strerror}") from None
    if (numbers := _of_palette(path)) is not None:
        return numbers
    pixels = sources.decode(content, _READ, str(path))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        if (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
            return np.ascontiguousarray(pixels[..., 3])  # a cut-out
        pixels = pixels[..., :3]
    if pixels.ndim == 2:
        return pixels
    one, *others = cv2.split(pixels)
    apart: Any = max(cv2.absdiff(one, other).max() for other in others)
    if apart > _GREY * (257 if pixels.dtype == np.uint16 else 1):
        raise BrokenData(f"{path} has colours; a mask is grey, a cut-out, or has a palette")
    return one


def _of_palette(path: pathlib.Path) -> np.ndarray | None:
    """The mask of a picture with a palette of colours or of two levels; None of any other."""
    try:
        with Image.open(path) as picture:
            if picture.mode == "1":
                return np.asarray(picture)
            if picture.mode != "P":
                return None
            colours = np.reshape(picture.getpalette() or [0, 0, 0], (-1, 3))
            numbers = np.asarray(picture)
    except Exception:  # what is broken is OpenCV's to tell, in the words of all other readers
        return None
    if (colours[np.unique(numbers)] == colours[np.unique(numbers), :1]).all():
        return None  # greys, which OpenCV decodes
    return numbers > 0


if __name__ == "__main__":
    terminal.leave(main)
