"""The command: `python -m jaxmatte.data` with list, show, check or prepare."""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Callable, Sequence

from jaxmatte import terminal
from jaxmatte.data import catalog, report
from jaxmatte.data.check import check
from jaxmatte.data.sets import ENTRIES
from jaxmatte.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments say; returns the exit code.

    0: done; 1: the check found problems; 2: a mistake of the person at the terminal.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    preparing = arguments[:1] == ["prepare"]
    goes_on = "; the same command goes on where it stopped" * preparing

    def command() -> int:
        options = _parser(preparing).parse_args(arguments)
        return options.run(options)

    return terminal.exit_code(command, f"stopped{goes_on}")


def _parser(preparing: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxmatte.data",
        description="The data sets of the papers: what they are, whether a copy is whole, "
        "and preparing one for fast training.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("list", help="the sets there are")
    command.set_defaults(run=_list)

    command = commands.add_parser("show", help="layout, licence and page of a set")
    command.add_argument("name", help="the set, by its name in the list")
    command.set_defaults(run=_show)

    command = commands.add_parser("check", help="verify a copy of a set; exit code 1: problems")
    command.description = "Decodes every file of a copy, and lists what is wrong with it."
    command.add_argument("name", help="the set, by its name in the list")
    command.add_argument("root", type=pathlib.Path, help="the set's folder, or what holds it")
    command.add_argument("--split", default="", help="only this one. default: all")
    command.add_argument(
        "--classes",
        type=terminal.count,
        metavar="COUNT",
        help="how many classes your own label maps have",
    )
    command.add_argument(
        "--threads", type=terminal.count, metavar="COUNT", help="that decode. default: one a core"
    )
    command.add_argument(
        "--strict", action="store_true", help="exit with 1 also where there are only notes"
    )
    command.add_argument(
        "--report", type=pathlib.Path, metavar="FILE", help="write all that was found, as JSON"
    )
    command.set_defaults(run=_check)

    command = commands.add_parser("prepare", help="write a set in the form that trains fastest")
    if preparing:  # what it needs is slow to import
        from jaxmatte.data import prepare

        prepare.add_arguments(command)
        command.set_defaults(run=lambda options: _quietly(prepare.run, options))
    return parser


def _quietly(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Runs a command that writes to Python's stderr; decoders that write past it are not heard."""
    with terminal.quiet_decoders() as screen, contextlib.redirect_stderr(screen):
        return run(options)


def _list(_: argparse.Namespace) -> int:
    wide = max(map(len, ENTRIES))
    for name, entry in ENTRIES.items():
        print(f"{name:{wide}}  {entry.title}: {entry.about}")
    return 0


def _show(options: argparse.Namespace) -> int:
    entry = catalog.get(options.name)
    print(f"{entry.title}: {entry.about}\n")
    about = {
        "licence": entry.licence,
        "to get it": entry.get,
        "page": entry.page,
        "notes": entry.notes,
        "checks": ", ".join(("counts", "decoding", "colours", "duplicates", *entry.checks)),
    }
    print("\n".join(report.facts(about)))
    where = " or ".join((*entry.folders, "its own folder"))
    print(f"\nfiles below {where}")
    for name, layout in entry.splits.items():
        count = "" if layout.count is None else f", {layout.count:,} rows"
        if layout.clips is not None:
            count += f", {layout.clips:,} clips"
        print(f"  {name}{count}{' (optional)' if layout.optional else ''}")
        print("\n".join(f"    {line}" for line in report.facts(layout.where())))
    return 0


def _check(options: argparse.Namespace) -> int:
    folder = options.report and options.report.parent
    if folder and not folder.is_dir():  # told before an hour of decoding
        raise UserError(f"cannot write {options.report}: there is no folder {folder}")
    with terminal.quiet_decoders() as screen:
        found = check(
            options.name,
            options.root,
            options.split,
            options.classes,
            options.threads,
            screen if screen.isatty() else None,
        )
    print(found.as_text())
    if options.report:
        try:
            options.report.write_text(found.as_json() + "\n")
        except OSError as error:
            raise UserError(f"cannot write {options.report}: {error.strerror}") from None
    return 0 if found.clean and not (options.strict and found.findings) else 1


if __name__ == "__main__":
    terminal.leave(main)
