"""Whether a person's copy of a set is whole, and as the papers' code expects it.

Every file is decoded once. What is wrong is listed, and nothing stops at the first.
"""

import concurrent.futures
import itertools
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

from tqdm import tqdm

from jaxmatte import terminal
from jaxmatte.data import catalog
from jaxmatte.data.entry import ALL, Entry, Layout
from jaxmatte.data.inspection import Facts, inspect, wrong_labels
from jaxmatte.data.layouts import ALPHA, CUTOUT, IGNORED, LABEL, LABEL_IDS, TRIMAP, Survey
from jaxmatte.data.report import Report, Rows
from jaxmatte.errors import UserError

BINARY_SHARE = 0.05  # of the alphas of a split; from here on it looks like one of masks
_WAITING = 4096  # files handed to the threads at a time


def check(
    name: str,
    root: pathlib.Path | str,
    split: str = "",
    classes: int | None = None,
    threads: int | None = None,
    progress: TextIO | None = None,
) -> Report:
    """Checks a copy of a set.

    Args:
        name: Of the set.
        root: Its folder, or the one that holds it.
        split: One split; every one that should be there where it is empty.
        classes: How many classes a person's own label maps have.
        threads: That decode; one a core where it is None.
        progress: Where a progress bar is drawn; nowhere where it is None.

    Raises:
        UserError: where there is nothing to check.
    """
    entry = catalog.get(name)
    report = Report(entry, catalog.base_of(entry, root))
    surveys = _surveys(report, split)
    holds = {
        path: column.part.holds
        for survey in surveys.values()
        for column in survey.columns
        for path in column.files.values()
    }
    found = _inspect(holds, threads or terminal.cores(), progress)
    report.files = len(found)
    checked = _Checked(report, surveys, holds, found)
    checked.files()
    checked.sizes()
    checked.alphas()
    checked.trimaps()
    checked.classes(entry.classes or classes)
    checked.duplicates()
    return report


def _surveys(report: Report, split: str) -> dict[str, Survey]:
    """Looks what is there of each split, and reports what is missing."""
    surveys = {}
    chosen = _chosen(report.entry, report.base, split)
    for name, (base, layout) in chosen.items():
        survey = layout.survey(base)
        if not survey.names and layout.optional and not split:
            report.add("absent", f"the split {name}")
            continue
        surveys[name] = survey
        _check_survey(report, name, layout, survey)
    if not any(survey.names for survey in surveys.values()):
        places = [next(iter(layout.where().values())) for _, layout in chosen.values()]
        raise UserError(
            f"nothing of {report.entry.title} in {report.base}; looked for pictures in "
            f"{', '.join(dict.fromkeys(places))} "
            f"(python -m jaxmatte.data show {report.entry.name})"
        )
    return surveys


def _chosen(entry: Entry, base: pathlib.Path, split: str) -> dict[str, tuple[pathlib.Path, Layout]]:
    """The splits to check, with their folders."""
    if split:
        base, split, layout = catalog.find(entry, base, split)
        return {split: (base, layout)}
    if not entry.plain:
        return {name: (base, layout) for name, layout in entry.splits.items()}
    layout = entry.splits[ALL]
    if layout.survey(base).names:
        return {ALL: (base, layout)}
    below = sorted(path for path in base.iterdir() if path.is_dir())
    found = {path.name: (path, layout) for path in below if layout.survey(path).names}
    return found or {ALL: (base, layout)}


def _check_survey(report: Report, name: str, layout: Layout, survey: Survey) -> None:
    fields = tuple(column.part.field for column in survey.columns)
    report.rows[name] = Rows(len(survey.names), layout.count, fields)
    for part in survey.absent:
        where = f"{name}: {part.field}, in {' or '.join(part.folders)}"
        report.add("absent" if part.optional else "folders", where)
    report.add("lists", *(f"{name}: {fault}" for fault in survey.faults))
    if survey.names:
        counts = [(len(survey.names), layout.count, "rows")]
        counts.append((len({row.split("/")[0] for row in survey.names}), layout.clips, "clips"))
        for count, expected, what in counts:
            if expected is not None and count != expected:
                report.add("counts", f"{name}: {count:,} {what}; {expected:,} by the authors")
    for column in survey.columns:
        lonely, strangers = survey.lonely(column), survey.strangers(column)
        report.add("partners", *(f"{name}: {row} has no {column.part.field}" for row in lonely))
        report.add("partners", *(f"{_short(report, p)} belongs to no row" for p in strangers))
        report.add("names", *(_short(report, path) for path in column.twice))


def _short(report: Report, path: str) -> str:
    return path.removeprefix(f"{report.base}/")


def _inspect(holds: Mapping[str, str], threads: int, progress: TextIO | None) -> dict[str, Facts]:
    """Decodes every file, in threads: the decoders let go of Python's lock."""
    found = {}
    files = iter(holds.items())
    bar = tqdm(
        total=len(holds),
        desc="decoding",
        unit=" files",
        file=progress or sys.stderr,
        disable=progress is None,
        leave=False,
    )
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        with bar:
            while some := list(itertools.islice(files, _WAITING)):
                results = pool.map(inspect, *zip(*some, strict=True))
                for (path, _), facts in zip(some, results, strict=True):
                    found[path] = facts
                    bar.update()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for what has not begun
    return found


class _Checked:
    """Files once they were decoded, and what is to be said of them."""

    def __init__(
        self,
        report: Report,
        surveys: Mapping[str, Survey],
        holds: Mapping[str, str],
        found: Mapping[str, Facts],
    ):
        self._report, self._surveys, self._holds, self._found = report, surveys, holds, found

    def _name(self, path: str) -> str:
        return _short(self._report, path)

    def _that_hold(self, *kinds: str) -> Iterator[tuple[str, Facts]]:
        """The files of these kinds that could be decoded."""
        for path, facts in self._found.items():
            if self._holds[path] in kinds and facts.size:
                yield path, facts

    def files(self) -> None:
        """Files that cannot be decoded, and oddities."""
        for path, facts in self._found.items():
            if facts.error:
                self._report.add("unreadable", f"{self._name(path)}: {facts.error}")
            for kind, detail in facts.oddities.items():
                self._report.add(kind, f"{self._name(path)} ({detail})")

    def sizes(self) -> None:
        """Planes of a row that differ in size."""
        lines: dict[str, None] = {}  # a foreground has many composites
        for survey in self._surveys.values():
            together = [c.files for c in survey.columns if not c.part.fitted]
            first, others = together[0] if together else {}, together[1:]
            for row, path in first.items():
                size = self._found[path].size
                for files in others:
                    other = self._found[files[row]].size if row in files else None
                    if size and other and size != other:
                        lines[
                            f"{self._name(path)} is {size[1]}x{size[0]}, "
                            f"{self._name(files[row])} {other[1]}x{other[0]}"
                        ] = None
        self._report.add("sizes", *lines)

    def alphas(self) -> None:
        """Alphas that are masks, or not grey."""
        for path, facts in self._that_hold(ALPHA, TRIMAP):
            if facts.coloured:
                self._report.add("channels", self._name(path))
        alphas = dict(self._that_hold(ALPHA, CUTOUT))
        for name, survey in self._surveys.items():
            own = {p for column in survey.columns for p in column.files.values() if p in alphas}
            binary = sorted(path for path in own if alphas[path].binary)
            if not binary:
                continue
            share = len(binary) / len(own)
            self._report.add(
                "binary" if share >= BINARY_SHARE else "few binary",
                *(
                    f"{self._name(path)} ({len(binary):,} of {len(own):,} in {name}, {share:.1%})"
                    for path in binary
                ),
            )

    def trimaps(self) -> None:
        """Trimaps with values that are no class of theirs."""
        for path, facts in self._that_hold(TRIMAP):
            strange = sorted(set(facts.values) - {0, 128, 255})
            if strange:
                self._report.add("trimaps", f"{self._name(path)}: {_some(strange)}")

    def classes(self, count: int | None) -> None:
        """Numbers in maps of classes that are none."""
        seen: set[int] = set()
        for path, facts in self._that_hold(LABEL, LABEL_IDS):
            seen |= set(facts.values)
            wrong = wrong_labels(facts.values, self._holds[path], count)
            if wrong:
                self._report.add("classes", f"{self._name(path)}: {_some(wrong)}")
        self._report.classes = tuple(sorted(seen))
        plain = any(self._that_hold(LABEL))
        if plain and count is None:
            self._report.add("classes", *_gaps(sorted(seen - {IGNORED})))

    def duplicates(self) -> None:
        """Pictures with the same pixels, in two splits or twice in one."""
        places: dict[str, dict[str, str]] = {}  # by content: the split of each file
        for name, survey in self._surveys.items():
            for path in survey.columns[0].files.values() if survey.columns else ():
                facts = self._found[path]
                if facts.content:
                    # A file that belongs to two splits is no copy.
                    places.setdefault(facts.content, {}).setdefault(path, name)
        for files in places.values():
            if len(files) > 1:
                kind = "duplicates" if len(set(files.values())) > 1 else "repeated"
                self._report.add(kind, " = ".join(self._name(path) for path in sorted(files)))


def _gaps(numbers: list[int]) -> list[str]:
    """What is wrong with the class numbers of a whole set, where it is not known how many."""
    if len(numbers) < 2:
        return [
            f"there is only class {_some(numbers) or 'none'} beside {IGNORED}, which is ignored"
        ]
    if numbers == list(range(len(numbers))):
        return []
    return [f"classes count from 0 without gaps; there are {_some(numbers)} (or give --classes)"]


def _some(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return ", ".join(map(str, numbers[:8])) + more
