"""From a source to batches, in an order that does not depend on processes or workers.

Source, seed, shuffle, repeat, random composition, and only then the share of this process: the
random numbers of an example depend on its place in the global order alone, so that one process and
many draw the same global batches, row for row, and one integer, `examples_seen`, says where to go
on.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import grain
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import opening, routes
from jaxmatte.data.pool import Pool
from jaxmatte.data.sources import Source
from jaxmatte.errors import BrokenData, UserError

VERSION = 2  # raised whenever the same seed gives other batches
PADDING = 32  # heights and widths of evaluation batches are multiples of this

_FOR_EVER = 1 << 40

BROKEN = ("stop", "skip")
_TRIES = 16  # rows looked at in place of a broken one

Example = dict[str, Any]
Batches = Iterator[dict[str, np.ndarray]]


class TrainingData:
    """What a run trains on."""

    def __init__(self, config: ConfigDict, source: Source, backgrounds: Source | None, seed: int):
        """Puts the parts together.

        Args:
            config: The group `data` of the configuration.
            source: The foregrounds.
            backgrounds: Rows with `background`; None where foregrounds bring their own.
            seed: Of the order, and of all that is drawn.
        """
        if config.broken not in BROKEN:
            raise UserError(f"data.broken={config.broken!r}; there are: {', '.join(BROKEN)}")
        self.config, self.source, self.seed = config, source, seed
        self.route = routes.find(config.route)
        self.pool = Pool(source, backgrounds, config)

    def __len__(self) -> int:
        """Examples an epoch."""
        return len(self.source) * self.config.backgrounds_per_foreground

    @property
    def fingerprint(self) -> str:
        """What the batches depend on besides the configuration; one line."""
        parts = [f"pipeline {VERSION}", f"seed {self.seed}", self.source.fingerprint]
        behind = self.pool.backgrounds
        return ", ".join(parts + ([behind.fingerprint] if behind is not None else []))

    def name(self, index: int) -> str:
        """What a person calls a row."""
        return self.source.name(index)

    def batches(
        self,
        batch: int,
        examples_seen: int = 0,
        process: int = 0,
        processes: int = 1,
        threads: int = 2,
        workers: int = 0,
        ahead: int = 4,
    ) -> Batches:
        """This process's share of the global batches, for ever.

        Args:
            batch: Examples in a global batch.
            examples_seen: Where in the order to go on.
            process: The number of this process.
            processes: How many share a batch.
            threads: Threads that compose, in each worker.
            workers: Processes that compose; 0: this one.
            ahead: Batches composed before they are asked for.
        """
        cv2.setNumThreads(0)  # the threads are grain's
        rows = grain.MapDataset.range(len(self)).seed(self.seed).shuffle().repeat()
        examples = rows.random_map(self._example)
        share = _Share(examples, examples_seen, batch, process, batch // processes)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        mine = grain.MapDataset.range(_FOR_EVER).map(share)
        dataset = mine.batch(batch // processes, drop_remainder=True).to_iter_dataset(options)
        if workers:
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
        return iter(dataset)

    def _example(self, place: int, rng: np.random.Generator) -> Example:
        """The example at a place of the epoch; another row's where that one is broken."""
        copy, number = divmod(int(place), len(self.source))
        for skipped in range(_TRIES):
            try:
                return self._made(number, copy, skipped, rng)
            except BrokenData as error:
                if self.config.broken == "stop":
                    raise
                _tell_once(str(error))
                number = int(rng.integers(len(self.source)))
        raise UserError(
            f"{_TRIES} rows in a row are broken, the last one {self.name(number)}; "
            "run `python -m jaxmatte.data check` on the data"
        )

    def _made(self, number: int, copy: int, skipped: int, rng: np.random.Generator) -> Example:
        row = self.source[number]
        pool = dataclasses.replace(self.pool, copy=copy)
        example: Example = self.route(row, pool, self.config, rng)
        example["mask"] = np.bool_(True)
        example["index"] = np.int32(row.index)
        example["size"] = np.array(example["image"].shape[:2], np.int32)
        example["skipped"] = np.int32(skipped)
        return example


@functools.cache
def _tell_once(trouble: str) -> None:
    print(f"warning: passed over: {trouble}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class _Share:
    """A process's rows of every global batch: the `process`-th so many, next to each other.

    Every so-manieth row would do for the content of the batches; but then a device would see other
    rows in one process than in two, and sums would be rounded differently.
    """

    examples: grain.MapDataset
    first: int
    batch: int
    process: int
    rows: int

    def __call__(self, number: int) -> Example:
        round_, row = divmod(int(number), self.rows)
        return self.examples[self.first + round_ * self.batch + self.process * self.rows + row]


class EvaluationData:
    """What a run is measured on: every row once, in batches of pictures of one shape."""

    def __init__(self, source: Source, name: str):
        """Keeps the source; `name` is what tables and files call the set."""
        self.source, self.name = source, name

    def __len__(self) -> int:
        return len(self.source)

    def batches(
        self, batch: int, process: int = 0, processes: int = 1, *, same_size: bool = False
    ) -> Batches:
        """This process's share of the global batches.

        Pictures are padded at the bottom and right by repeating their edge; `size` says how much
        of each is real. Rows that fill the last batch of a shape have `mask` False and index -1.

        Args:
            batch: Rows in a global batch.
            process: The number of this process.
            processes: How many share a batch.
            same_size: Batch only pictures of exactly one size, without padding.
        """
        slots = list(self._slots(batch, same_size))[process::processes]
        rows = grain.MapDataset.range(len(slots)).map(lambda number: self._row(*slots[number]))
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * batch)
        pending: list[Example] = []
        for row in rows.to_iter_dataset(options):
            pending.append(row)
            if len(pending) == batch // processes:
                yield {name: np.stack([r[name] for r in pending]) for name in pending[0]}
                pending = []

    def count(self, batch: int, *, same_size: bool = False) -> int:
        """How many batches there are."""
        return len(list(self._slots(batch, same_size))) // batch

    def _slots(self, batch: int, same_size: bool) -> Iterator[tuple[int, int, int]]:
        """Rows with the shape of their batch; -1 where a batch is filled up."""
        shapes: dict[tuple[int, int], list[int]] = {}
        for index in range(len(self.source)):
            height, width = self.source.size(index)
            if not same_size:
                height, width = (-(-side // PADDING) * PADDING for side in (height, width))
            shapes.setdefault((height, width), []).append(index)
        for (height, width), indices in shapes.items():
            for index in indices + [-1] * (-len(indices) % batch):
                yield index, height, width

    def _row(self, index: int, height: int, width: int) -> Example:
        if index < 0:
            blank = {"image": np.zeros((height, width, 3), np.uint8)}
            blank |= {name: np.zeros((height, width, 1), np.uint8) for name in self._planes}
            size = (height, width)
        else:
            row = self.source[index]
            size = row.size
            edges = ((0, height - size[0]), (0, width - size[1]), (0, 0))
            blank = {"image": np.pad(row["image"], edges, mode="edge")}
            for name in self._planes:
                blank[name] = np.pad(row[name][..., None], edges, mode="edge")
        return blank | {
            "mask": np.bool_(index >= 0),
            "index": np.int32(index),
            "size": np.array(size, np.int32),
        }

    @property
    def _planes(self) -> tuple[str, ...]:
        return ("alpha", "trimap") if self.source.has_trimaps else ("alpha",)


def open_training(config: ConfigDict, seed: int) -> TrainingData:
    """Opens what the group `data` of a configuration names.

    Args:
        config: The group `data`.
        seed: Of the run: order, crops, backgrounds.
    """
    source, backgrounds = opening.training(config, seed)
    return TrainingData(config, source, backgrounds, seed)


def open_evaluation(config: ConfigDict, data: ConfigDict, seed: int) -> EvaluationData:
    """Opens the set that the group `evaluation` names.

    Args:
        config: The group `evaluation`.
        data: The group `data`.
        seed: Of the built-in scenes.
    """
    return EvaluationData(*opening.evaluation(config, data, seed))
