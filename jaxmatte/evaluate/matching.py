"""Which files belong together: those of one name but for its ending, folders below included."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping

from jaxmatte.data import manifest
from jaxmatte.errors import UserError

Lists = dict[str, list[str]]  # by kind, a line each

# Every kind of problem, in the order in which a person reads them.
PROBLEMS = (
    "missing predictions",
    "missing trimaps",
    "missing foregrounds",
    "missing true foregrounds",
    "extra predictions",
    "several files of one name",
    "unreadable files",
    "wrong sizes",
)


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where pictures lie; each folder is searched with those below it."""

    predictions: pathlib.Path
    truth: pathlib.Path
    trimaps: pathlib.Path | None = None
    images: pathlib.Path | None = None
    foregrounds: pathlib.Path | None = None
    true_foregrounds: pathlib.Path | None = None

    @property
    def given(self) -> dict[str, pathlib.Path]:
        """Those that are there, by what they hold."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: folder for name, folder in found.items() if folder is not None}


@dataclasses.dataclass(frozen=True)
class Matches:
    """The true mattes in order, and what belongs to each.

    Attributes:
        folders: Where they lie.
        names: Of the true mattes, relative to their folder, with "/".
        partners: By the folder's role, a relative name for each of `names`; None: there is none.
        whole: Whether nothing is missing that is needed to measure, for each of `names`.
        problems: What has no partner, or two.
        notes: What is missing and only shown.
    """

    folders: Folders
    names: list[str]
    partners: dict[str, list[str | None]]
    whole: list[bool]
    problems: Lists
    notes: Lists

    def path(self, role: str, index: int) -> pathlib.Path | None:
        """The file of a picture in one of the folders; None where there is none."""
        if role == "truth":
            return self.folders.truth / self.names[index]
        name = self.partners[role][index] if role in self.partners else None
        return None if name is None else self.folders.given[role] / name


def match(folders: Folders, besides: Iterable[pathlib.Path] = ()) -> Matches:
    """Finds the partners of every true matte.

    Args:
        folders: Where pictures lie.
        besides: Folders that belong to none of them, though they may lie inside.

    Raises:
        UserError: where a folder is not there or holds no pictures.
    """
    given = folders.given
    listed = {
        role: _by_stem(role, folder, [*given.values(), *besides]) for role, folder in given.items()
    }
    truths = listed.pop("truth")
    stems = sorted(truths, key=_in_order)
    partners: dict[str, list[str | None]] = {role: [] for role in listed}
    whole = [len(truths[stem]) == 1 for stem in stems]
    problems: Lists = collections.defaultdict(list)
    notes: Lists = collections.defaultdict(list)
    problems["several files of one name"] += _several("truth", truths, truths)
    for role, found in listed.items():
        needed = role != "images"
        kept = problems if needed else notes
        for at, stem in enumerate(stems):
            names = found.get(stem, [])
            if not names:
                kept[f"missing {role.replace('_', ' ')}"].append(truths[stem][0])
            partners[role].append(names[0] if len(names) == 1 else None)
            whole[at] &= len(names) == 1 or not needed
        problems["several files of one name"] += _several(role, found, truths)
    strangers = sorted(listed["predictions"].keys() - truths.keys(), key=_in_order)
    problems["extra predictions"] += [n for s in strangers for n in listed["predictions"][s]]
    names = [truths[stem][0] for stem in stems]
    return Matches(folders, names, partners, whole, problems, notes)


def flag(role: str) -> str:
    """How the command calls a folder."""
    return f"--{role.replace('_', '-')}"


def _by_stem(
    role: str, folder: pathlib.Path, others: Iterable[pathlib.Path]
) -> Mapping[str, list[str]]:
    """The folder's pictures by their names without an ending; those in `others` are not its own."""
    if not folder.is_dir():
        raise UserError(
            f"{flag(role)} {folder} is {'no folder' if folder.exists() else 'not there'}"
        )
    own = folder.resolve()
    inside = [other.resolve() for other in others]
    foreign = tuple(f"{o.relative_to(own).as_posix()}/" for o in inside if own in o.parents)
    found: Lists = {}
    for name in manifest.scan(folder, recursive=True).names:
        if not name.startswith(foreign):
            found.setdefault(manifest.stem(name), []).append(name)
    if not found:
        raise UserError(f"{flag(role)} {folder} holds no pictures ({', '.join(manifest.PICTURES)})")
    return found


def _several(role: str, found: Mapping[str, list[str]], wanted: Mapping[str, object]) -> list[str]:
    """Names that more than one file has, among those that are wanted."""
    twice = sorted((s for s in found if len(found[s]) > 1 and s in wanted), key=_in_order)
    return [f"{' and '.join(found[stem])} in {role.replace('_', ' ')}" for stem in twice]


def _in_order(name: str) -> tuple[list[str | int], list[str | int], str]:
    """Sorts folder by folder, and numbers by their value: frame 2 comes before frame 10."""
    folder, _, file = name.rpartition("/")
    return _numbers(folder), _numbers(file), name


def _numbers(text: str) -> list[str | int]:
    parts: list[str | int] = list(re.split(r"(\d+)", text))
    parts[1::2] = map(int, parts[1::2])
    return parts
