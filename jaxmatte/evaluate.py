"""Measuring: every picture of a set scored once, whatever the number of devices and processes."""

import csv
import dataclasses
import functools
import inspect
import io
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxmatte import inference, papers
from jaxmatte.data import pipeline
from jaxmatte.engine import pictures, steps, workdir
from jaxmatte.engine.checkpoint import FOLDER, Checkpoints
from jaxmatte.engine.parallel import Parallel, StopSignal, initialize, is_main
from jaxmatte.engine.state import TrainState, frozen, initial_variables
from jaxmatte.engine.writer import write_atomically
from jaxmatte.errors import UserError
from jaxmatte.metrics import matting, protocols

TABLES = "evaluations"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        set_name: The set.
        means: Each metric's mean over the pictures, by its plain name.
        labels: Each metric's name with its protocol and region.
        rows: A dict a picture, in the set's order: index, name and metrics.
        constant: The MAD over all pixels of the best constant matte.
        picture: Rows of image, matte, truth, error and cut-out, [H,W,3] uint8.
    """

    set_name: str
    means: dict[str, float]
    labels: dict[str, str]
    rows: list[dict[str, Any]]
    constant: float
    picture: np.ndarray

    def line(self) -> str:
        """The means in one line."""
        told = ", ".join(f"{self.labels[name]} {value:.4f}" for name, value in self.means.items())
        return (
            f"{self.set_name}: {told} ({len(self.rows)} pictures; the best constant matte has MAD "
            f"{self.constant:.4f})"
        )

    def summary(self) -> dict[str, Any]:
        """The means as a record."""
        named = {self.labels[name]: value for name, value in self.means.items()}
        return {
            "set": self.set_name,
            "pictures": len(self.rows),
            **named,
            "best constant matte, MAD": self.constant,
        }

    def table(self) -> str:
        """The rows as CSV."""
        text = io.StringIO()
        columns = ["index", "name", *self.labels]
        headed = [{self.labels.get(name, name): row[name] for name in columns} for row in self.rows]
        table = csv.DictWriter(text, list(headed[0]))
        table.writeheader()
        table.writerows(headed)
        return text.getvalue()


class Evaluator:
    """Measures states of one model on one set; compiles once a shape."""

    def __init__(self, config: ConfigDict, model: nn.Module, parallel: Parallel):
        """Opens the set.

        Args:
            config: The whole configuration.
            model: Whose states are measured.
            parallel: Where they are.
        """
        settings = config.evaluation
        self._settings, self._parallel = settings, parallel
        self._protocol = protocols.get(settings.protocol)
        self.data = pipeline.open_evaluation(settings, config.data, config.seed)
        trimaps = self.data.source.has_trimaps
        needed = [name for name in model.inputs if name == "trimap"]
        if needed and not trimaps:
            raise UserError(f"{config.paper} takes a trimap: name the folder in evaluation.trimaps")
        self._label = functools.partial(protocols.label, protocol=self._protocol, trimap=trimaps)
        rule = _rule(settings, config.model)
        self._same_size = settings.rule in inference.SAME_SIZE
        # Rows that only fill up a batch cost little: any batch is made to fit the devices.
        self._batch = -(-settings.batch // parallel.devices) * parallel.devices
        self._score = parallel.compile_eval(
            functools.partial(_score, model=model, rule=rule, protocol=self._protocol)
        )
        self._show = parallel.compile_eval(functools.partial(_show, model=model, rule=rule))
        self._constant: float | None = None

    def run(self, state: TrainState, stop: StopSignal | None = None) -> Evaluation | None:
        """Scores the whole set; None where a signal asked to stop before the end."""
        arguments = (self._batch, self._parallel.process, self._parallel.processes)
        total = self.data.count(self._batch, same_size=self._same_size)
        batches = self.data.batches(*arguments, same_size=self._same_size)
        histogram = np.zeros(256)
        scored: list[dict[str, np.ndarray]] = []
        shown: list[dict[str, np.ndarray]] = []
        bar = tqdm(batches, "evaluate", total, leave=False, disable=None if is_main() else True)
        for batch in bar:
            if stop is not None and stop.asked:
                return None
            placed = self._parallel.put(batch)
            scored.append(self._parallel.to_host(self._score(state, placed)))
            if len(shown) * self._batch < self._settings.pictures:
                shown.append(self._parallel.to_host(self._show(state, placed)))
            if self._constant is None:
                histogram += _histogram(batch)
        if self._constant is None:
            pooled = self._parallel.sum_over_processes(histogram)
            self._constant = matting.constant_baseline(pooled)[1]
        rows = self._rows(scored)
        return Evaluation(
            set_name=self.data.name,
            means={name: math.fsum(r[name] for r in rows) / len(rows) for name in _metrics(rows)},
            labels={name: self._label(name) for name in _metrics(rows)},
            rows=rows,
            constant=self._constant,
            picture=self._picture(shown, {row["index"]: row for row in rows}),
        )

    def _rows(self, scored: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
        rows = []
        for batch in scored:
            metrics = [name for name in batch if name not in ("index", "mask")]
            for at in np.flatnonzero(batch["mask"]):
                index = int(batch["index"][at])
                row: dict[str, Any] = {"index": index, "name": self.data.source.name(index)}
                rows.append(row | {name: float(batch[name][at]) for name in metrics})
        return sorted(rows, key=lambda row: row["index"])

    def _picture(
        self, shown: list[dict[str, np.ndarray]], rows: dict[int, dict[str, Any]]
    ) -> np.ndarray:
        images, mattes, truths, captions = [], [], [], []
        for batch in shown:
            for at in np.flatnonzero(batch["mask"]):
                height, width = batch["size"][at]
                images.append(batch["image"][at, :height, :width])
                mattes.append(batch["matte"][at, :height, :width, 0])
                truths.append(batch["alpha"][at, :height, :width, 0] / 255)
                row = rows[int(batch["index"][at])]
                captions.append(f"{row['name']}   {self._label('mad')} {row['mad']:.4f}")
        most = self._settings.pictures
        return pictures.grid(images[:most], mattes[:most], truths[:most], captions[:most])


def _rule(settings: ConfigDict, model: ConfigDict) -> Callable[..., jax.Array]:
    """The test-time rule with what it knows of the options and of the model's fields."""
    rule = inference.get(settings.rule)
    known = {**model.to_dict(), **settings.options.to_dict()}
    named = inspect.signature(rule).parameters
    return functools.partial(rule, **{name: v for name, v in known.items() if name in named})


def _score(
    state: TrainState, batch: steps.Batch, *, model: nn.Module, rule: Callable, protocol: Any
) -> dict[str, jax.Array]:
    scores = steps.eval_step(state, batch, model=model, rule=rule, protocol=protocol)
    return scores | {name: batch[name] for name in ("mask", "index")}


def _show(
    state: TrainState, batch: steps.Batch, *, model: nn.Module, rule: Callable
) -> dict[str, jax.Array]:
    kept = {name: batch[name] for name in ("image", "alpha", "mask", "index", "size")}
    return kept | {"matte": steps.predict_step(state, batch, model=model, rule=rule)}


def _histogram(batch: dict[str, np.ndarray]) -> np.ndarray:
    """How often each byte occurs in the batch's alphas, true pixels of true rows."""
    counts = np.zeros(256)
    for at in np.flatnonzero(batch["mask"]):
        height, width = batch["size"][at]
        counts += np.bincount(batch["alpha"][at, :height, :width].ravel(), minlength=256)
    return counts


def _metrics(rows: list[dict[str, Any]]) -> list[str]:
    """The metrics' names, in the order in which tables have them."""
    order = ("sad", "mse", "mad")
    names = [name for name in rows[0] if name not in ("index", "name")]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def write(evaluation: Evaluation, folder: pathlib.Path, name: str) -> None:
    """Writes the summary as JSON and the rows as CSV."""
    write_atomically(folder / f"{name}.json", json.dumps(evaluation.summary(), indent=2) + "\n")
    write_atomically(folder / f"{name}.csv", evaluation.table())


def load(
    config: ConfigDict, path: pathlib.Path, which: str = "best"
) -> tuple[nn.Module, dict[str, Any], int]:
    """Reads a trained network from a working directory.

    Args:
        config: The configuration of the run.
        path: The working directory.
        which: "best" or "last".

    Returns:
        The model, its variables (the averaged ones where there are any) and their step.
    """
    if which not in ("best", "last"):
        raise UserError(f"evaluation.checkpoint={which!r}; there are: best, last")
    workdir.require_same(path, config)
    if not (path / FOLDER).is_dir():
        raise UserError(f"{path} has no {which} checkpoint; train first: --mode=train")
    parallel = Parallel("jit")
    model = papers.build(config.paper, **config.model)
    with Checkpoints(path, config.checkpoint, parallel) as checkpoints:
        step = checkpoints.best() if which == "best" else checkpoints.latest()
        if step is None:
            raise UserError(f"{path} has no {which} checkpoint; train first: --mode=train")
        shapes = jax.eval_shape(functools.partial(initial_variables, model), jax.random.key(0))
        return model, checkpoints.restore_variables(step, parallel.abstract(shapes)), step


def evaluate(config: ConfigDict, path: pathlib.Path) -> Evaluation:
    """Measures a checkpoint of a working directory: the verb behind --mode=eval.

    Args:
        config: The configuration of the run; what it says of `evaluation` may differ.
        path: The working directory.
    """
    initialize()
    which = config.evaluation.checkpoint
    model, variables, step = load(config, path, which)
    evaluator = Evaluator(config, model, Parallel("jit"))
    evaluation = evaluator.run(frozen(variables, step))
    assert evaluation is not None  # nothing was there to stop it
    if is_main():
        name = f"{which}_{step:07d}"
        write(evaluation, path / TABLES, name)
        write_atomically(path / TABLES / f"{name}.png", pictures.encode(evaluation.picture))
        print(evaluation.line())
        print(f"checkpoint {step} ({which}); summary, table and pictures: {path / TABLES}/{name}.*")
    return evaluation
