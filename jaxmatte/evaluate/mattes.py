"""Mattes of a checkpoint on a set: every picture scored once, wherever and in whatever batches."""

import concurrent.futures
import dataclasses
import functools
import math
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxmatte import inference, terminal
from jaxmatte.data import pipeline
from jaxmatte.engine import pictures, steps
from jaxmatte.engine.parallel import Parallel, StopSignal
from jaxmatte.engine.state import TrainState
from jaxmatte.errors import UserError
from jaxmatte.evaluate import baselines, report, settings
from jaxmatte.evaluate.columns import Column, columns
from jaxmatte.evaluate.segmenter import Segmenter
from jaxmatte.metrics import connectivity, matting, pair

_SHOWN = ("image", "alpha", "mask", "index", "size")  # of a batch, beside its mattes


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        set_name: The set.
        columns: The metrics under their protocols.
        rows: A dict a picture, in the set's order: index, name, and a number a column.
        constant: The MAD over all pixels of the best constant matte.
        baseline: Of a network that is guided, what its guide gives alone; else None.
        picture: Rows of image, matte, truth, error and cut-out, [H,W,3] uint8.
    """

    set_name: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    constant: float
    picture: np.ndarray
    baseline: baselines.Found | None = None

    @property
    def means(self) -> dict[str, float]:
        """Each column's mean, by its name."""
        return {column.name: column.mean(self.rows) for column in self.columns}

    @property
    def labelled(self) -> dict[str, float]:
        """Each column's mean, by its label."""
        return {column.label: column.mean(self.rows) for column in self.columns}

    def line(self) -> str:
        """The means in one line."""
        told = ", ".join(f"{label} {value:.4f}" for label, value in self.labelled.items())
        beaten = f"the best constant matte has MAD {self.constant:.4f}"
        if self.baseline is not None:
            beaten = self.baseline.line(self.means)
        return f"{self.set_name}: {told} ({len(self.rows)} pictures; {beaten})"

    def summary(self) -> dict[str, Any]:
        """The means as a record."""
        return {
            "set": self.set_name,
            "pictures": len(self.rows),
            **{
                label: mean if math.isfinite(mean) else None
                for label, mean in self.labelled.items()
            },
            "best constant matte, MAD": self.constant,
            **(self.baseline.summary(self.means) if self.baseline else {}),
        }

    def table(self) -> str:
        """The rows as CSV."""
        labels = {column.name: column.label for column in self.columns}
        return report.as_csv(self.rows, {"index": "index", "name": "name"} | labels)

    def page(self) -> str:
        """The means as a table to be pasted."""
        over = {column.label: column.over(self.rows) for column in self.columns}
        return f"{self.set_name}\n\n{report.markdown(self.labelled, over)}"


class Evaluator:
    """Measures states of one model on one set; compiles once a shape."""

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
            model: Whose states are measured.
            parallel: Where they are.
            name: Of `evaluation.sets`.
        """
        self._settings, self._parallel, self._name = group, parallel, name
        guides = baselines.given(model.inputs, columns(group.protocol, group.metrics, True))
        self.data = pipeline.open_evaluation(group, config.data, config.seed, guides)
        self._trimaps = self.data.source.has_trimaps
        given = group.segmenter
        self._segmenter = Segmenter(**given, parallel=parallel) if given.workdir else None
        if "trimap" in model.inputs and not self._trimaps and self._segmenter is None:
            raise UserError(
                f"{config.paper} takes a trimap: name the folder in evaluation.trimaps (`python -m "
                "jaxmatte.trimap` makes them), or in evaluation.segmenter.workdir the directory of "
                "a network that makes them"
            )
        self.columns = columns(group.protocol, group.metrics, self._trimaps)
        rule = settings.rule(group, config.model)
        self._same_size = group.rule in inference.SAME_SIZE
        # As many pictures a device, whatever the number of devices: then each device runs the same
        # program, and no digit of a matte depends on how many there are.
        self._batch = group.batch * parallel.devices
        here = ("conn",) if group.connectivity == "host" else ()
        self._host = [column for column in self.columns if column.metric in here]
        self._device = [column for column in self.columns if column.metric not in here]
        scores = {column.name: (column.metric, column.protocol) for column in self._device}
        step = functools.partial(steps.eval_step, model=model, rule=rule, scores=scores)
        self._score = parallel.compile_rows(step)
        self._constant: float | None = None
        self._baseline = baselines.Baseline(config, group, model, self._trimaps) if guides else None
        self._beaten: baselines.Found | None = None

    def run(self, state: TrainState, stop: StopSignal | None = None) -> Evaluation | None:
        """Scores the whole set; None where a signal asked to stop before the end."""
        arguments = (self._batch, self._parallel.process, self._parallel.processes)
        batches = self.data.batches(*arguments, same_size=self._same_size)
        total = self.data.count(self._batch, same_size=self._same_size)
        histogram = np.zeros(256)
        numbers: list[np.ndarray] = []
        shown: list[dict[str, np.ndarray]] = []
        baseline = self._unmeasured_baseline()
        device = [*self._device, *([baseline.column] if baseline else [])]
        with _HostScores(self._host) as host:
            for batch in settings.progress(batches, total):
                if stop is not None and stop.asked:
                    return None
                batch = self._with_bands(batch)
                placed = self._parallel.put(batch)
                if self._segmenter is not None:
                    placed["predicted_trimap"] = self._segmenter(placed["image"])
                found = self._score(state, placed)
                show = {name: placed[name] for name in _SHOWN} | {"matte": found.pop("matte")}
                scores = self._parallel.own(found)
                if baseline is not None:
                    scores |= self._parallel.own(baseline.score(state, placed))
                host.add(self._parallel.own(show["matte"]) if self._host else None, batch)
                numbers.append(_table(batch["index"], scores, device))
                if len(shown) * self._batch < self._settings.pictures:
                    shown.append(self._parallel.whole(show))
                if self._constant is None:
                    histogram += _histogram(batch)
            own = np.concatenate([np.concatenate(numbers), host.table()], axis=1)
        if self._constant is None:
            pooled = self._parallel.sum_over_processes(histogram)
            self._constant = matting.constant_baseline(pooled)[1]
        rows = self._rows(self._parallel.gather(own), device)
        if baseline is not None:
            self._beaten = baseline.found(rows)
            rows = [{k: v for k, v in row.items() if k != baselines.NAME} for row in rows]
        return Evaluation(
            set_name=f"{self._name} ({self.data.name})" if self._name else self.data.name,
            columns=self.columns,
            rows=rows,
            constant=self._constant,
            picture=self._picture(shown, {row["index"]: row for row in rows}),
            baseline=self._beaten,
        )

    def _unmeasured_baseline(self) -> baselines.Baseline | None:
        """The baseline, where it is not known yet and can be."""
        if self._baseline is None or self._beaten is not None:
            return None
        try:
            self._baseline.compile(self._parallel)
        except UserError as error:  # a checkpoint is measured without what it was trained on
            self._beaten = self._baseline.missing(error)
            return None
        return self._baseline

    def _with_bands(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with the trimaps that a protocol makes of the true mattes."""
        if self._trimaps or not any(column.protocol.band for column in self.columns):
            return batch
        bands = np.zeros_like(batch["alpha"])
        for at, (height, width) in enumerate(batch["size"]):
            truth = batch["alpha"][at, :height, :width, 0]
            bands[at, :height, :width, 0] = pair.band(np.ascontiguousarray(truth))
        return {**batch, "band": bands}

    def _rows(self, numbers: np.ndarray, device: list[Column]) -> list[dict[str, Any]]:
        rows = []
        for index, *values in numbers[numbers[:, 0] >= 0]:
            row: dict[str, Any] = {"index": int(index), "name": self.data.source.name(int(index))}
            found = zip([*device, *self._host], map(float, values), strict=True)
            by_name = {column.name: value for column, value in found}
            ordered = {column.name: by_name.pop(column.name) for column in self.columns}
            rows.append(row | ordered | by_name)
        return sorted(rows, key=lambda row: row["index"])

    def _picture(
        self, shown: list[dict[str, np.ndarray]], rows: dict[int, dict[str, Any]]
    ) -> np.ndarray:
        images, mattes, truths, captions = [], [], [], []
        column = next((c for c in self.columns if c.metric == "mad"), self.columns[0])
        for batch in shown:
            for at in np.flatnonzero(batch["mask"]):
                height, width = batch["size"][at]
                images.append(batch["image"][at, :height, :width])
                mattes.append(np.nan_to_num(batch["matte"][at, :height, :width, 0]))
                truths.append(batch["alpha"][at, :height, :width, 0] / 255)
                row = rows[int(batch["index"][at])]
                captions.append(f"{row['name']}   {column.label} {row[column.name]:.4f}")
        most = self._settings.pictures
        return pictures.grid(images[:most], mattes[:most], truths[:most], captions[:most])


class _HostScores:
    """Scores mattes in threads, a few batches behind the device."""

    def __init__(self, columns: list[Column]):
        self._columns = columns
        self._pool = concurrent.futures.ThreadPoolExecutor(terminal.cores())
        self._waiting: list[list[concurrent.futures.Future]] = []
        self._done: list[list[float]] = []

    def __enter__(self) -> "_HostScores":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, mattes: np.ndarray | None, batch: dict[str, np.ndarray]) -> None:
        """Begins to score a batch; waits where too many mattes are in memory."""
        jobs = [self._pool.submit(self._one, mattes, batch, at) for at in range(len(batch["mask"]))]
        self._waiting.append(jobs)
        if len(self._waiting) > 2:
            self._collect()

    def table(self) -> np.ndarray:
        """A row for each row of the batches so far, a column a score."""
        while self._waiting:
            self._collect()
        return np.array(self._done, np.float64).reshape(len(self._done), len(self._columns))

    def _collect(self) -> None:
        self._done += [job.result() for job in self._waiting.pop(0)]

    def _one(self, mattes: np.ndarray | None, batch: dict[str, np.ndarray], at: int) -> list[float]:
        if mattes is None or not batch["mask"][at]:
            return [0.0] * len(self._columns)
        height, width = batch["size"][at]

        def plane(values: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(values[at, :height, :width, 0])

        prediction, truth = plane(mattes), plane(batch["alpha"])
        if not pair.in_range(prediction):  # of a network that diverged; as the device has it
            return [math.nan] * len(self._columns)
        found = []
        for column in self._columns:
            trimap = steps.trimap(batch, column.protocol)
            given = None if trimap is None else plane(trimap)
            found.append(connectivity.conn(prediction, truth, given, column.protocol))
        return found


def _table(index: np.ndarray, scores: dict[str, np.ndarray], columns: list[Column]) -> np.ndarray:
    """The rows' numbers in the set, then their scores; float64 [B, 1 + columns]."""
    return np.stack([index, *(scores[column.name] for column in columns)], axis=1, dtype=np.float64)


def _histogram(batch: dict[str, np.ndarray]) -> np.ndarray:
    """How often each byte occurs in the batch's alphas, true pixels of true rows."""
    counts = np.zeros(256)
    for at in np.flatnonzero(batch["mask"]):
        height, width = batch["size"][at]
        counts += np.bincount(batch["alpha"][at, :height, :width].ravel(), minlength=256)
    return counts
