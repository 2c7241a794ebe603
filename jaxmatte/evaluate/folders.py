"""Any project's mattes on file against the true ones: read and measured in threads."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from jaxmatte import terminal
from jaxmatte.errors import UserError
from jaxmatte.evaluate import matching
from jaxmatte.evaluate.columns import METRICS, Column, columns
from jaxmatte.evaluate.matching import PROBLEMS, Folders, Lists, Matches
from jaxmatte.evaluate.scoring import DTSSD, FOREGROUND, NOTES, Scored, Scorer
from jaxmatte.terminal import printable

_FRAMES = 32  # of a clip that a thread takes at once; the one before them is read once more
_AHEAD = 4  # tasks a thread that wait to begin, or for those before them


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured, and what could not be.

    Attributes:
        columns: Metrics under their protocols.
        rows: A dict a picture that was measured: its `name`, and a number a column; None where
            the column has none for it.
        pictures: How many true mattes there are.
        problems: By kind, what kept pictures from being measured, and extra predictions.
        notes: By kind, what a person should know of numbers and pictures.
        matches: Which files belong together.
    """

    columns: list[Column]
    rows: list[dict[str, Any]]
    pictures: int
    problems: Lists
    notes: Lists
    matches: Matches

    def means(self) -> dict[str, float | None]:
        """The mean of each column by its label; None where there is nothing to average."""
        return {column.label: column.mean(rows) if rows else None for column, rows in self._own()}

    def over(self) -> dict[str, str]:
        """What each mean is over, by the column's label."""
        return {column.label: column.over(rows) for column, rows in self._own()}

    def worst(self, count: int) -> list[dict[str, Any]]:
        """The rows with the largest numbers in the first column, the largest first."""
        first = self.columns[0].name
        rows = [row for row in self.rows if row[first] is not None]
        return sorted(rows, key=lambda row: -row[first])[:count]

    def _own(self) -> Iterator[tuple[Column, list[dict[str, Any]]]]:
        for column in self.columns:
            yield column, [row for row in self.rows if row[column.name] is not None]


def evaluate(
    folders: Folders,
    protocols: str = "dim",
    metrics: Sequence[str] | None = None,
    threads: int | None = None,
    progress: TextIO | None = None,
    besides: Iterable[pathlib.Path] = (),
) -> Measurement:
    """Measures every predicted matte that has a true one.

    Args:
        folders: Where the pictures lie.
        protocols: Names, with commas between.
        metrics: Of METRICS and DTSSD; None: all.
        threads: That read and measure; one a core where it is None. The result is the same.
        progress: Where a progress bar is drawn; nowhere where it is None.
        besides: Folders inside the others that are none of their own.

    Raises:
        UserError: where folders, names or flags are wrong; what is wrong with single pictures is
            listed in the result.
    """
    chosen = choose(folders, protocols, metrics)
    matches = matching.match(folders, besides)
    scorer = Scorer(matches, chosen)
    rows = []
    problems, notes = (
        collections.defaultdict(list, lists) for lists in (matches.problems, matches.notes)
    )
    threads = threads or terminal.cores()
    with contextlib.closing(_in_threads(scorer, len(matches.names), threads, progress)) as results:
        for scored in results:
            rows += [scored.row] if scored.row else []
            for lists, found in ((problems, scored.problems), (notes, scored.notes)):
                for kind, line in found:
                    lists[kind].append(line)
    return Measurement(
        columns=chosen,
        rows=rows,
        pictures=len(matches.names),
        problems=_told(problems, PROBLEMS),
        notes=_told(notes, NOTES),
        matches=matches,
    )


def choose(folders: Folders, protocols: str, metrics: Sequence[str] | None) -> list[Column]:
    """The columns that these folders and names ask for.

    Args:
        folders: Where pictures lie; with both foregrounds, those are measured too.
        protocols: Names, with commas between.
        metrics: Of METRICS and DTSSD; None: all.
    """
    if (folders.foregrounds is None) != (folders.true_foregrounds is None):
        raise UserError("--foregrounds and --true-foregrounds go together; give both")
    colours = FOREGROUND if folders.foregrounds else ()
    wanted = (*METRICS, DTSSD) if metrics is None else metrics
    # The check of names comes first: it should not offer what --foregrounds alone brings.
    columns(protocols, wanted, folders.trimaps is not None, (DTSSD,))
    found = columns(protocols, (*wanted, *colours), folders.trimaps is not None, (DTSSD, *colours))
    kept = [c for c in found if c.metric != DTSSD or c.protocol.average == "clips"]
    if metrics is not None and DTSSD in metrics and not any(c.metric == DTSSD for c in kept):
        raise UserError(f"{DTSSD} is of videos: it needs a protocol that averages clips, as rvm")
    return kept


def _in_threads(
    scorer: Scorer, count: int, threads: int, progress: TextIO | None
) -> Generator[Scored]:
    """Scores all pictures in threads; gives them in their order, a few are in memory at a time."""
    size = min(_FRAMES, -(-count // threads)) if scorer.follows_clips else 1
    waiting: collections.deque[concurrent.futures.Future[list[Scored]]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    bar = tqdm(
        total=count,
        desc="measuring",
        unit=" pictures",
        file=progress or sys.stderr,
        disable=progress is None,
        leave=False,
    )
    try:
        with bar:
            for start in range(0, count, max(size, 1)):
                waiting.append(pool.submit(scorer.score, start, min(start + size, count)))
                if len(waiting) > _AHEAD * threads:
                    yield from _first(waiting, bar)
            while waiting:
                yield from _first(waiting, bar)
    finally:
        scorer.stop.set()  # Ctrl-C need not wait for what has begun
        pool.shutdown(cancel_futures=True)


def _first(waiting: collections.deque, bar: tqdm) -> list[Scored]:
    results = waiting.popleft().result()
    bar.update(len(results))
    return results


def _told(lists: Lists, order: Iterable[str]) -> Lists:
    """The kinds that occur, in order, with lines that a terminal can show."""
    return {kind: [printable(line) for line in lists[kind]] for kind in order if lists[kind]}
