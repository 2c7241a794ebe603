"""From a source to batches, in an order that does not depend on processes or workers.

Source, seed, shuffle, repeat, random composition, and only then the share of this process: the
random numbers of an example depend on its place in the global order alone, so that one process and
many draw the same global batches, row for row, and one integer, `examples_seen`, says where to go
on.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import cv2
import grain
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import sources, studio
from jaxmatte.data.examples import Examples
from jaxmatte.data.sources import Record, Source
from jaxmatte.errors import UserError

VERSION = 1  # raised whenever the same seed gives other batches
PADDING = 32  # heights and widths of evaluation batches are multiples of this

_FOR_EVER = 1 << 40

Batches = Iterator[dict[str, np.ndarray]]


class TrainingData:
    """What a run trains on."""

    def __init__(self, source: Source, examples: Examples, *, copies: int, seed: int):
        """Puts the parts together; `copies` examples an epoch for each row of the source."""
        self.source, self.examples, self.copies, self.seed = source, examples, copies, seed

    def __len__(self) -> int:
        """Examples an epoch."""
        return len(self.source) * self.copies

    @property
    def fingerprint(self) -> str:
        """What the batches depend on besides the configuration; one line."""
        parts = [f"pipeline {VERSION}", f"seed {self.seed}", self.source.fingerprint]
        behind = self.examples.backgrounds
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

    def _example(self, row: int, rng: np.random.Generator) -> Record:
        return self.examples(self.source[int(row) % len(self.source)], rng)


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

    def __call__(self, number: int) -> Record:
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
        pending: list[Record] = []
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

    def _row(self, index: int, height: int, width: int) -> Record:
        if index < 0:
            blank = {"image": np.zeros((height, width, 3), np.uint8)}
            blank |= {name: np.zeros((height, width, 1), np.uint8) for name in self._planes}
            size = (height, width)
        else:
            record = self.source[index]
            size = record["alpha"].shape
            edges = ((0, height - size[0]), (0, width - size[1]), (0, 0))
            blank = {"image": np.pad(record["image"], edges, mode="edge")}
            for name in self._planes:
                blank[name] = np.pad(record[name][..., None], edges, mode="edge")
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
    composed = config.compose.route != "none"
    root = pathlib.Path(config.root)
    if config.source == "studio":
        source = _studio(config, "train", config.studio.train, seed)
        backgrounds = source if composed else None
    elif config.source == "folder":
        source = _folder(config, root)
        backgrounds = None
        if composed:
            backgrounds = sources.PictureFolder(
                _below(root, config.backgrounds, "data.backgrounds"), "data.backgrounds"
            )
    else:
        raise UserError(f"data.source={config.source!r}; there are: studio, folder")
    copies = config.compose.backgrounds_per_foreground if composed else 1
    examples = Examples(config, backgrounds, root)
    return TrainingData(source, examples, copies=copies, seed=seed)


def open_evaluation(config: ConfigDict, data: ConfigDict, seed: int) -> EvaluationData:
    """Opens the set that the group `evaluation` names.

    Args:
        config: The group `evaluation`.
        data: The group `data`.
        seed: Of the built-in scenes.
    """
    if data.source == "studio":
        if config.split not in ("validation", "test"):
            raise UserError(f"evaluation.split={config.split!r}; there are: validation, test")
        source = _studio(data, config.split, data.studio[config.split], seed)
        return EvaluationData(source, f"studio {config.split}")
    root = pathlib.Path(data.root)
    source = sources.PairFolder(
        _below(root, config.images, "evaluation.images"),
        _below(root, config.alphas, "evaluation.alphas"),
        trimaps=root / config.trimaps if config.trimaps else None,
        fields="evaluation",
    )
    return EvaluationData(source, config.images)


def _studio(config: ConfigDict, split: str, count: int, seed: int) -> Any:
    scenes = studio.StudioSource(split, count, config.studio.scene, config.studio.mode, seed)
    return sources.Cached(scenes) if config.studio.cache else scenes


def _folder(config: ConfigDict, root: pathlib.Path) -> Any:
    if config.cutouts:
        return sources.CutoutFolder(_below(root, config.cutouts, "data.cutouts"))
    return sources.PairFolder(
        _below(root, config.images, "data.images"),
        _below(root, config.alphas, "data.alphas"),
        root / config.foregrounds if config.foregrounds else None,
    )


def _below(root: pathlib.Path, name: str, field: str) -> pathlib.Path:
    if root == pathlib.Path():
        raise UserError(f"give --config.data.root=DIR, the directory that holds {name or field}")
    if not root.is_dir():
        raise UserError(f"config.data.root={str(root)!r} is not a directory")
    if not name:
        raise UserError(f"config.{field} is empty; name a folder below config.data.root")
    return root / name
