"""From a source to batches, in an order that does not depend on processes or workers.

Source, seed, shuffle, repeat, random composition, and only then the share of this process: the
random numbers of an example depend on its place in the global order alone, so that one process and
many draw the same global batches, row for row, and one integer, `examples_seen`, says where to go
on.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import grain
import numpy as np
from ml_collections import ConfigDict

from jaxmatte import memory
from jaxmatte.data import opening, routes
from jaxmatte.data.pool import Pool
from jaxmatte.data.routes import bisenetv2
from jaxmatte.data.sources import Source
from jaxmatte.errors import BrokenData, UserError

VERSION = 3  # raised whenever the same seed gives other batches
PADDING = 32  # heights and widths of evaluation batches are multiples of this

_FOR_EVER = 1 << 40

BROKEN = ("stop", "skip")
_TRIES = 16  # rows looked at, one in place of the other, before all are taken for broken
# What travels with the arrays of examples and batches as far as this process, and no further.
_TROUBLES, _ERROR = "troubles", "error"

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
        _single_threaded()
        rows = grain.MapDataset.range(len(self)).seed(self.seed).shuffle().repeat()
        examples = rows.random_map(self._example)
        share = _Share(examples, examples_seen, batch, process, batch // processes)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        dataset = grain.MapDataset.range(_FOR_EVER).map(share).to_iter_dataset(options)
        if workers:
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=workers),
                worker_init_fn=_prepare_worker,
            )
        return _checked(iter(dataset), shared=bool(workers))

    def _example(self, place: int, rng: np.random.Generator) -> Example:
        """The example at a place of the epoch; another row's where that one is broken.

        A broken background counts like a broken foreground: all of the example is drawn anew. What
        is drawn depends on what can be read, but not on who reads it.
        """
        copy, number = divmod(int(place), len(self.source))
        troubles: list[str] = []
        while len(troubles) < _TRIES:
            try:
                made = self._made(number, copy, rng)
            except BrokenData as error:
                if self.config.broken == "stop":
                    raise
                troubles.append(str(error))
                number = int(rng.integers(len(self.source)))
            else:
                made["skipped"] = np.int32(len(troubles))
                made[_TROUBLES] = troubles
                return made
        raise UserError(
            f"{_TRIES} rows in a row are broken; the last one: {troubles[-1]} "
            "(`python -m jaxmatte.data check` finds all)"
        )

    def _made(self, number: int, copy: int, rng: np.random.Generator) -> Example:
        row = self.source[number]
        pool = dataclasses.replace(self.pool, copy=copy)
        example: Example = self.route(row, pool, self.config, rng)
        example["mask"] = np.bool_(True)
        example["index"] = np.int32(row.index)
        example["size"] = np.array(example["image"].shape[:2], np.int32)
        return example


def _single_threaded() -> None:
    """Keeps OpenCV from threads of its own: the threads are grain's."""
    cv2.setNumThreads(0)


def _prepare_worker(*_: int) -> None:
    """What a worker is told before its first batch."""
    _single_threaded()
    memory.keep()


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

    def __call__(self, number: int) -> dict[str, Any]:
        """The share of a batch; where it cannot be made, the error is what comes.

        A worker that raises is gone, and grain's clean-up after it can end in a traceback.
        """
        start = self.first + int(number) * self.batch + self.process * self.rows
        try:
            examples = [self.examples[start + row] for row in range(self.rows)]
        except UserError as error:
            return {_ERROR: error}
        troubles = "\n".join(line for example in examples for line in example.pop(_TROUBLES))
        made = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
        return made | {_TROUBLES: troubles}


def _checked(shares: grain.DatasetIterator, shared: bool) -> Batches:
    """Raises the errors that come in place of batches; tells once of each broken row.

    Memory that is shared with workers is copied and given back at once: what a run still holds when
    it ends with an error would be complained of on the terminal as leaked.
    """
    told: set[str] = set()
    try:
        for share in shares:
            if _ERROR in share:
                raise share[_ERROR]
            for trouble in share.pop(_TROUBLES).splitlines():
                if trouble not in told:
                    print(f"warning: passed over: {trouble}", file=sys.stderr, flush=True)
                    told.add(trouble)
            yield {name: np.array(v) for name, v in share.items()} if shared else share
    finally:
        shares.close()


class EvaluationData:
    """What a run is measured on: every row once, in batches of pictures of one shape."""

    def __init__(
        self,
        source: Source,
        name: str,
        classes: ConfigDict | None = None,
        colours: Sequence[str] = ("image",),
    ):
        """Keeps the source.

        Args:
            source: The rows.
            name: What tables and files call the set.
            classes: The group `data`, where a row's truth is its class map and not its alpha.
            colours: What batches have of a row's pictures: `image`, `plate`.
        """
        self.source, self.name, self._classes, self._colours = source, name, classes, colours

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
            blank = {name: np.zeros((height, width, 3), np.uint8) for name in self._colours}
            names = ("label",) if self._classes else self._planes
            blank |= {name: np.zeros((height, width, 1), np.uint8) for name in names}
            size = (height, width)
        else:
            row = self.source[index]
            size = row.size
            edges = ((0, height - size[0]), (0, width - size[1]), (0, 0))
            blank = {name: np.pad(row[name], edges, mode="edge") for name in self._colours}
            if self._classes:
                label = bisenetv2.class_map(row, self._classes)[..., None]
                blank["label"] = np.pad(label, edges, constant_values=bisenetv2.IGNORED)
            else:
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


def open_evaluation(
    config: ConfigDict, data: ConfigDict, seed: int, given: Sequence[str] = ()
) -> EvaluationData:
    """Opens the set that the group `evaluation` names.

    Args:
        config: The group `evaluation`.
        data: The group `data`.
        seed: Of the built-in scenes.
        given: What a network is given beside the picture: `trimap`, `plate`. Batches have them,
            from file or made.
    """
    colours = ("image", "plate") if "plate" in given else ("image",)
    return EvaluationData(*opening.evaluation(config, data, seed, given), colours=colours)


def open_classes(config: ConfigDict, data: ConfigDict, seed: int) -> EvaluationData:
    """The same set with class maps: those on file, or made of alphas as in training.

    Args:
        config: The group `evaluation`.
        data: The group `data`, which says how many classes there are, and how they are made.
        seed: Of the built-in scenes.
    """
    if "classes" not in data:
        raise UserError("evaluation.kind=classes needs data.classes, of the route bisenetv2")
    return EvaluationData(*opening.evaluation(config, data, seed), classes=data)
