"""The command: `python -m jaxmatte.evaluate` measures any project's mattes on file."""

import argparse
import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import cv2

from jaxmatte import memory, terminal
from jaxmatte.engine.pictures import encode
from jaxmatte.engine.writer import write_atomically
from jaxmatte.errors import UserError
from jaxmatte.evaluate import folders, gallery, report
from jaxmatte.evaluate.matching import Folders, flag
from jaxmatte.evaluate.scoring import NOTES
from jaxmatte.metrics.protocols import PROTOCOLS

SUMMARY, TABLE, ROWS, GALLERY = "summary.json", "table.md", "per_image.csv", "worst.png"
_ABOUT = f"""\
Measures predicted mattes against true ones. Files belong together by their names without
the ending; folders are searched with those below them. --out receives

  {SUMMARY:14} the means, their protocols, and each problem with its files
  {TABLE:14} the means, to be pasted
  {ROWS:14} a row a picture
  {GALLERY:14} the worst pictures

Exit code: 0: all is well; 1: files are missing, unreadable or of a wrong size, the others
were measured; 2: nothing could be measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments say; returns the exit code.

    0: done; 1: there were problems; 2: nothing could be measured, or a mistake in the arguments.
    """
    return terminal.exit_code(lambda: _run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxmatte.evaluate",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, about in (
        ("predictions", "predicted mattes"),
        ("truth", "true mattes; in videos a folder is a clip"),
        ("trimaps", "0, 128 and 255; without them the whole picture is measured"),
        ("images", "the pictures themselves, shown in the gallery"),
        ("foregrounds", "predicted foreground colours, measured too"),
        ("true-foregrounds", "true foreground colours"),
        ("out", "where the results are written"),
    ):
        needed = name in ("predictions", "truth", "out")
        parser.add_argument(f"--{name}", type=_folder, required=needed, metavar="DIR", help=about)
    parser.add_argument(
        "--protocol",
        default="dim",
        metavar="NAME[,NAME...]",
        help=f"how published numbers were measured: {', '.join(PROTOCOLS)}. default: dim",
    )
    parser.add_argument(
        "--metrics",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="NAME[,NAME...]",
        help=f"of {', '.join(folders.METRICS)}, and {folders.DTSSD} of videos. default: all",
    )
    parser.add_argument(
        "--threads", type=terminal.count, metavar="COUNT", help="default: one a core"
    )
    parser.add_argument(
        "--worst",
        type=_amount,
        default=12,
        metavar="COUNT",
        help="pictures in the gallery, by the first metric of the first protocol. default: 12",
    )
    return parser


def _folder(text: str) -> pathlib.Path:
    """A path, for argparse; of an unset variable of a script it would be the folder one is in."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return pathlib.Path(text)


def _amount(text: str) -> int:
    """A whole number, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    given = Folders(
        options.predictions,
        options.truth,
        options.trimaps,
        options.images,
        options.foregrounds,
        options.true_foregrounds,
    )
    _check_output(options.out, given)
    with terminal.quiet_decoders() as screen, _one_thread_in_opencv():
        measured = folders.evaluate(
            given,
            options.protocol,
            options.metrics,
            options.threads,
            screen if screen.isatty() else None,
            besides=[options.out],
        )
        try:
            _write(measured, options)
        finally:  # a full disk hides no number, and a reader who left no file
            _say(_told(measured))
    if not measured.rows:
        raise UserError(f"nothing could be measured; {options.out / SUMMARY} has all problems")
    _say(f"{options.out}: {', '.join((SUMMARY, TABLE, ROWS, *[GALLERY] * bool(options.worst)))}")
    return 1 if measured.problems else 0


def _told(measured: folders.Measurement) -> str:
    """The table, then what a person should know of it."""
    lines = [report.markdown(measured.means(), measured.over())]
    for lists, meanings in ((measured.notes, NOTES), (measured.problems, {})):
        lines += report.listed(lists, meanings, SUMMARY)
    return "\n".join(lines)


def _say(text: str) -> None:
    """Prints as far as somebody reads it: the files hold it all, and the exit code stays true."""
    try:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError:  # the reader, such as head, has seen enough; or a full disk takes the words
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_output(out: pathlib.Path, given: Folders) -> None:
    """Whether the results can be written, before an hour of measuring."""
    for role, folder in given.given.items():
        if out.resolve() == folder.resolve():
            raise UserError(
                f"--out {out} is the folder of {flag(role)}; results need one of theirs"
            )
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"--out {out} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out {out} cannot be written: change the rights of {there}")


@contextlib.contextmanager
def _one_thread_in_opencv() -> Iterator[None]:
    """The threads are ours: OpenCV's would compete with them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _write(measured: folders.Measurement, options: argparse.Namespace) -> None:
    """Writes what was found; of an earlier run nothing stays."""
    flags = _flags(options)
    picture = gallery.worst(measured, options.worst)
    headers = {"name": "name"} | {column.name: column.label for column in measured.columns}
    contents: dict[str, bytes | str | None] = {
        ROWS: report.as_csv(measured.rows, headers),
        GALLERY: None if picture is None else encode(picture),
        TABLE: report.page(measured, flags),
        SUMMARY: report.as_json(report.summary(measured, flags)),
    }
    for name, content in contents.items():
        path = options.out / name
        try:
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, content)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None


def _flags(options: argparse.Namespace) -> dict[str, str]:
    """The flags, but for those that change no number: where and how fast."""
    kept = {n: v for n, v in vars(options).items() if v is not None and n not in ("out", "threads")}
    if options.metrics is not None:
        kept["metrics"] = ",".join(options.metrics)
    return {flag(name): str(value) for name, value in kept.items()}


if __name__ == "__main__":
    memory.keep()  # megabytes a picture would be faulted in anew for each: a twentieth of the time
    sys.exit(main())
