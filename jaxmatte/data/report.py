"""What a check of a data set found, and how a person or a program reads it."""

import dataclasses
import json
import pathlib
import textwrap
from collections.abc import Mapping

from jaxmatte import terminal
from jaxmatte.data.entry import Entry

SHOWN = 5  # lines of a kind in the terminal
_INDENT = "    "
_WIDTH = 100
_LONGEST = 300  # characters of a finding in the terminal; the JSON has all

# Every kind of finding: whether it makes a copy wrong, and what it means.
KINDS: Mapping[str, tuple[bool, str]] = {
    "folders": (True, "folders that a copy must have"),
    "lists": (True, "lists of composites that do not hold"),
    "counts": (True, "not as many as the authors say"),
    "partners": (True, "no partner of the same name"),
    "names": (True, "the name of another file but for the ending"),
    "unreadable": (True, "cannot be decoded"),
    "sizes": (True, "planes of one row that differ in size"),
    "binary": (True, "alphas of only 0 and 255: masks, not mattes"),
    "channels": (True, "channels that should be equal differ; only one of them is read"),
    "trimaps": (True, "trimaps with values other than 0, 128 and 255"),
    "classes": (True, "wrong class numbers"),
    "duplicates": (True, "the same picture in two splits"),
    "repeated": (False, "the same picture twice in one split"),
    "few binary": (False, "a few alphas of only 0 and 255"),
    "sixteen bits": (False, "16 bits a channel; read as 8"),
    "palette": (False, "pictures with a palette; read as its colours"),
    "rotated": (False, "turned by EXIF; read as stored, as their alphas are"),
    "not RGB": (False, "other colour spaces; turned into RGB without a profile"),
    "profile": (False, "colour profiles other than sRGB; read without, as the papers' code does"),
    "absent": (False, "not there; a copy may lack them"),
}


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a split: how many, how many by the authors, and their fields."""

    found: int
    expected: int | None
    fields: tuple[str, ...]


@dataclasses.dataclass
class Report:
    """What a check found.

    Attributes:
        entry: The set.
        base: Its folder.
        rows: By split.
        findings: By kind, a line each.
        files: How many were decoded.
        classes: Class numbers that occur.
    """

    entry: Entry
    base: pathlib.Path
    rows: dict[str, Rows] = dataclasses.field(default_factory=dict)
    findings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    files: int = 0
    classes: tuple[int, ...] = ()

    def add(self, kind: str, *lines: str) -> None:
        """Adds findings of a kind."""
        assert kind in KINDS, kind
        if lines:
            self.findings.setdefault(kind, []).extend(lines)

    def kinds(self, wrong: bool) -> list[str]:
        """The kinds found, in order: those that make a copy wrong, or the notes."""
        return [kind for kind, (bad, _) in KINDS.items() if bad == wrong and kind in self.findings]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong; there may be notes."""
        return not self.kinds(wrong=True)

    def as_json(self) -> str:
        """Everything, for other programs."""
        content = {
            "set": self.entry.name,
            "folder": str(self.base),
            "licence": self.entry.licence,
            "files": self.files,
            "splits": {name: dataclasses.asdict(rows) for name, rows in self.rows.items()},
            "classes": self.classes,
            "clean": self.clean,
            "problems": {kind: self.findings[kind] for kind in self.kinds(wrong=True)},
            "notes": {kind: self.findings[kind] for kind in self.kinds(wrong=False)},
        }
        return json.dumps(content, indent=2)

    def as_text(self, shown: int = SHOWN) -> str:
        """What a person reads, with the first so many lines of each kind."""
        lines = [f"{self.entry.title} in {self.base}", *facts({"licence": self.entry.licence}), ""]
        wide = max(len(name) for name in self.rows)
        for name, rows in self.rows.items():
            of = "" if rows.expected is None else f" of {rows.expected:,}"
            lines.append(f"{name:{wide}}  {rows.found:,}{of} rows: {', '.join(rows.fields)}")
        if self.classes:
            lines.append(f"classes: {', '.join(map(str, self.classes))}")
        for wrong in (True, False):
            for kind in self.kinds(wrong):
                lines += ["", *self._section(kind, shown)]
        return "\n".join([*lines, "", self._verdict()])

    def _section(self, kind: str, shown: int) -> list[str]:
        wrong, meaning = KINDS[kind]
        found = self.findings[kind]
        lines = [f"{'PROBLEM' if wrong else 'note'}  {kind} ({len(found):,}): {meaning}"]
        lines += [_INDENT + _short(terminal.printable(line)) for line in found[:shown]]
        if len(found) > shown:
            lines.append(f"{_INDENT}and {len(found) - shown:,} more")
        return lines

    def _verdict(self) -> str:
        decoded = f"{self.files:,} files decoded"
        if self.clean:
            return f"{decoded}; nothing wrong"
        kinds = self.kinds(wrong=True)
        count = sum(len(self.findings[kind]) for kind in kinds)
        return f"{decoded}; {count:,} problem{'s' * (count > 1)}: {', '.join(kinds)}"


def _short(line: str) -> str:
    """A line of a bearable length: thousands of files may have the same pixels."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."


def facts(values: Mapping[str, str]) -> list[str]:
    """Names and what they mean in two columns, wrapped; those without a meaning are left out."""
    wide = max(len(name) for name in values) + 2
    lines = []
    for name, value in values.items():
        wrapped = textwrap.wrap(value, _WIDTH - wide)
        lines += [f"{name if not number else '':{wide}}{w}" for number, w in enumerate(wrapped)]
    return lines
