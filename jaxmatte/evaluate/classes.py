"""Classes of a checkpoint on a set: confusions counted on the device, mIoU over the whole set."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxmatte import inference
from jaxmatte.data import pipeline
from jaxmatte.engine import pictures, steps
from jaxmatte.engine.parallel import Parallel, StopSignal
from jaxmatte.engine.state import TrainState
from jaxmatte.errors import UserError
from jaxmatte.evaluate import report, settings
from jaxmatte.metrics import device, segmentation

# What is added to each union. CoinCheung's code adds 1, so that nothing is divided by 0; a class
# that occurs nowhere then measures 0 and counts in the mean.
PROTOCOLS = {"miou": 0, "coincheung": 1}
_SHOWN = ("image", "label", "mask", "index", "size")


@dataclasses.dataclass(frozen=True)
class Column:
    """A number of a table: mIoU or a class's IoU, its short name and what people read."""

    name: str
    label: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        set_name: The set.
        columns: mIoU, then IoU by class.
        rows: A dict a picture, in the set's order: index, name, and its own mIoU.
        confusion: Pixels by true and predicted class, over the whole set, [C, C] int64.
        extra: What the protocol adds to each union.
        picture: Rows of image, classes, truth and mistakes, [H,W,3] uint8.
    """

    set_name: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    confusion: np.ndarray
    extra: int
    picture: np.ndarray

    @property
    def means(self) -> dict[str, float]:
        """MIoU and each class's IoU over the pixels of all pictures, by name."""
        values = segmentation.iou(self.confusion, self.extra)
        mean = segmentation.miou(self.confusion, self.extra)
        found = zip(self.columns, [mean, *values], strict=True)
        return {column.name: float(value) for column, value in found}

    @property
    def labelled(self) -> dict[str, float]:
        """The same by label."""
        means = self.means
        return {column.label: means[column.name] for column in self.columns}

    @property
    def constant(self) -> float:
        """The mIoU of the best answer that gives one class everywhere."""
        true = self.confusion.sum(axis=1)
        answers = [true[:, None] * (np.arange(len(true)) == c) for c in range(len(true))]
        return max(segmentation.miou(answer, self.extra) for answer in answers)

    def line(self) -> str:
        """The means in one line."""
        told = ", ".join(f"{label} {value:.4f}" for label, value in self.labelled.items())
        return (
            f"{self.set_name}: {told} ({len(self.rows)} pictures; the best constant class has "
            f"mIoU {self.constant:.4f})"
        )

    def summary(self) -> dict[str, Any]:
        """The means as a record."""
        return {
            "set": self.set_name,
            "pictures": len(self.rows),
            **{
                label: mean if math.isfinite(mean) else None
                for label, mean in self.labelled.items()
            },
            "best constant class, mIoU": self.constant,
            "confusion, true by predicted": self.confusion.tolist(),
        }

    def table(self) -> str:
        """The rows as CSV."""
        first = self.columns[0]
        headers = {"index": "index", "name": "name", first.name: first.label}
        return report.as_csv(self.rows, headers)

    def page(self) -> str:
        """The means as a table to be pasted."""
        over = dict.fromkeys(self.labelled, f"pixels of {len(self.rows):,} pictures")
        return f"{self.set_name}\n\n{report.markdown(self.labelled, over)}"


class Evaluator:
    """Measures states of one segmenting model on one set; compiles once a shape."""

    def __init__(
        self,
        config: ConfigDict,
        group: ConfigDict,
        model: nn.Module,
        parallel: Parallel,
        name: str = "",
    ):
        """Opens the set.

        Args:
            config: The whole configuration.
            group: `evaluation`, as it is for this set.
            model: Whose states are measured; its output `logits` has a class a channel.
            parallel: Where they are.
            name: Of `evaluation.sets`.
        """
        self._settings, self._parallel, self._name = group, parallel, name
        if group.protocol not in PROTOCOLS:
            raise UserError(
                f"evaluation.protocol={group.protocol!r} with kind=classes; there are: "
                f"{', '.join(PROTOCOLS)}"
            )
        self.data = pipeline.open_classes(group, config.data, config.seed)
        self._classes = config.data.classes
        self.columns = _columns(group, self._classes)
        self._same_size = group.rule in inference.SAME_SIZE
        self._batch = group.batch * parallel.devices  # as of mattes: so many a device
        rule = functools.partial(settings.rule(group, config.model), output="logits")
        step = functools.partial(_classify, model=model, rule=rule, classes=self._classes)
        self._count = parallel.compile_rows(step)

    def run(self, state: TrainState, stop: StopSignal | None = None) -> Evaluation | None:
        """Counts the whole set; None where a signal asked to stop before the end."""
        arguments = (self._batch, self._parallel.process, self._parallel.processes)
        batches = self.data.batches(*arguments, same_size=self._same_size)
        total = self.data.count(self._batch, same_size=self._same_size)
        numbers: list[np.ndarray] = []
        shown: list[dict[str, np.ndarray]] = []
        for batch in settings.progress(batches, total):
            if stop is not None and stop.asked:
                return None
            placed = self._parallel.put(batch)
            show = {name: placed[name] for name in _SHOWN}
            counted, show["classes"] = self._count(state, placed)
            counts = self._parallel.own(counted)
            index = batch["index"][:, None]
            numbers.append(np.concatenate([index, counts.reshape(len(index), -1)], axis=1))
            if len(shown) * self._batch < self._settings.pictures:
                shown.append(self._parallel.whole(show))
        found = self._parallel.gather(np.concatenate(numbers).astype(np.float64))
        rows, confusion = self._rows(found)
        return Evaluation(
            set_name=f"{self._name} ({self.data.name})" if self._name else self.data.name,
            columns=self.columns,
            rows=rows,
            confusion=confusion,
            extra=PROTOCOLS[self._settings.protocol],
            picture=self._picture(shown, {row["index"]: row for row in rows}),
        )

    def _rows(self, numbers: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
        """A row a picture, and all confusions added up; whole numbers, so that order is nothing."""
        extra = PROTOCOLS[self._settings.protocol]
        counts = numbers[:, 1:].astype(np.int64).reshape(-1, self._classes, self._classes)
        rows = [
            {
                "index": int(index),
                "name": self.data.source.name(int(index)),
                self.columns[0].name: segmentation.miou(confusion, extra),
            }
            for index, confusion in zip(numbers[:, 0], counts, strict=True)
            if index >= 0
        ]
        total = counts[numbers[:, 0] >= 0].sum(axis=0)
        return sorted(rows, key=lambda row: row["index"]), total

    def _picture(
        self, shown: list[dict[str, np.ndarray]], rows: dict[int, dict[str, Any]]
    ) -> np.ndarray:
        column = self.columns[0]
        lines: list[tuple[dict[str, np.ndarray | None], str]] = []
        for batch in shown:
            for at in np.flatnonzero(batch["mask"]):
                height, width = batch["size"][at]
                image, found, true = (
                    batch[name][at, :height, :width] for name in ("image", "classes", "label")
                )
                row = rows[int(batch["index"][at])]
                tiles = pictures.classes(image, found, true[..., 0], self._classes)
                lines.append((tiles, f"{row['name']}   {column.label} {row[column.name]:.4f}"))
        return pictures.table(lines[: self._settings.pictures])


def _columns(group: ConfigDict, classes: int) -> list[Column]:
    names = list(group.names) or [f"class {number}" for number in range(classes)]
    if len(names) != classes:
        raise UserError(f"evaluation.names has {len(names)} names; data.classes={classes}")
    protocol = group.protocol
    first = Column("miou", f"mIoU[{protocol}]")
    return [first, *(Column(f"iou {name}", f"IoU[{protocol}, {name}]") for name in names)]


def _classify(
    state: TrainState,
    batch: steps.Batch,
    *,
    model: nn.Module,
    rule: inference.Rule,
    classes: int,
) -> tuple[jax.Array, jax.Array]:
    """The confusion of each picture [B,C,C], and the class of each pixel [B,H,W] int32."""
    scores = steps.predict_step(state, batch, model=model, rule=rule)
    found = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    return device.confusion(found, batch["label"][..., 0].astype(jnp.int32), classes), found
