"""Training: `train(config, workdir)`, which starts, goes on, or finds everything done.

The loop's order, written down and kept:

    evaluate, save, draw the batch, step, write

A checkpoint so holds the state and the place in the data of one moment, with the metrics of just
that state. The step is only handed to the devices; while they work on step n, the numbers of step
n - 1 are fetched, checked and written.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import optax
from clu import parameter_overview
from flax import linen as nn
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxmatte import evaluate, papers, weights
from jaxmatte.data import pipeline
from jaxmatte.engine import durations, optimizer, state, steps, workdir
from jaxmatte.engine.checkpoint import FOLDER, Checkpoints, Position
from jaxmatte.engine.parallel import AXIS, Parallel, StopSignal, initialize, is_main
from jaxmatte.engine.state import TrainState
from jaxmatte.engine.writer import METRICS, PICTURES, Progress, Writer
from jaxmatte.errors import UserError

STATISTICS = ("batch", "running")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run's durations, in steps."""

    total: int
    evaluate: int
    save: int
    log: int
    teacher: int  # how often the frozen copy is taken anew; 0: there is none

    @classmethod
    def of(cls, config: ConfigDict, epoch: int) -> "Plan":
        """Reads them from the configuration, where an epoch has so many examples."""
        to_steps = functools.partial(durations.steps, batch=config.train.batch, epoch=epoch)
        total = to_steps(config.train.total, "train.total")
        if total < 1:
            raise UserError(f"train.total={config.train.total!r} is less than a step")
        every = {
            field: max(to_steps(group.every, f"{name}.every", total=total), 1)
            for field, name, group in (
                ("evaluate", "evaluation", config.evaluation),
                ("save", "checkpoint", config.checkpoint),
                ("log", "log", config.log),
            )
        }
        teacher = 0
        if config.train.teacher:
            teacher = max(to_steps(config.train.teacher, "train.teacher", total=total), 1)
        return cls(total, **every, teacher=teacher)


class Run:
    """One run: its parts, and the loop over them."""

    def __init__(self, config: ConfigDict, path: pathlib.Path, parallel: Parallel):
        """Builds all parts but the state; the directory must be of this run."""
        self.config, self.path, self.parallel = config, path, parallel
        self.model = papers.build(config.paper, **config.model)
        self.data = pipeline.open_training(config.data, config.seed)
        self.plan = Plan.of(config, len(self.data))
        self.evaluators = evaluate.evaluators(config, self.model, parallel)
        measured = [column.name for column in next(iter(self.evaluators.values())).columns]
        if config.checkpoint.best not in measured:
            raise UserError(
                f"checkpoint.best={config.checkpoint.best!r} is not measured; evaluation.metrics "
                f"and evaluation.protocol give: {', '.join(measured)}"
            )
        shapes = jax.eval_shape(
            functools.partial(state.initial_variables, self.model), jax.random.key(0)
        )
        self.given = _given_variables(config, self.model, shapes, parallel)
        self.rate = self._schedule()
        self.optimizer = optimizer.build(config.optimizer, shapes["params"], self.rate)
        objective = functools.partial(papers.module(config.paper).objective, **config.objective)
        self.step = parallel.compile_train(
            functools.partial(
                steps.train_step,
                model=self.model,
                objective=objective,
                optimizer=self.optimizer,
                ema=config.optimizer.ema,
                statistics=config.train.statistics,
                teacher_every=self.plan.teacher,
            )
        )
        self.pending: Pending | None = None
        self.refused = False  # whether the numbers of a step were not finite
        self.skipped = 0  # broken rows passed over since the start of this process
        self.evaluation: evaluate.Evaluation | None = None

    def _schedule(self) -> optax.Schedule:
        settings = self.config.optimizer
        updates = max(self.plan.total // settings.accumulate, 1)

        def to_updates(text: str, field: str) -> int:
            batch, epoch = self.config.train.batch, len(self.data)
            number = durations.steps(text, field, batch=batch, epoch=epoch, total=self.plan.total)
            return number // settings.accumulate

        return optimizer.schedule(settings, updates, to_updates)

    def start(self, checkpoints: Checkpoints) -> TrainState:
        """The state to go on from: the newest checkpoint's, or a new one."""
        averaged, taught = self.config.optimizer.ema > 0, self.plan.teacher > 0
        create = functools.partial(
            state.create, self.model, self.optimizer, averaged=averaged, taught=taught
        )
        key = jax.random.key(self.config.seed)
        newest = checkpoints.latest()
        if newest is None:
            fresh = self.parallel.create(create, key)
            return self._with_weights(fresh) if self.given else fresh
        abstract = self.parallel.abstract(jax.eval_shape(create, key))
        restored, position = checkpoints.restore(newest, abstract)
        if position.fingerprint != self.data.fingerprint:
            raise UserError(
                f"the data are not those of {checkpoints.path(newest)}: "
                f"[{position.fingerprint}] there, [{self.data.fingerprint}] here; "
                "bring them back, or give another --workdir"
            )
        return restored

    def _with_weights(self, fresh: TrainState) -> TrainState:
        """A new state with the weights that `config.init` names in place of drawn ones."""
        drawn = {"params": fresh.params, "batch_stats": fresh.batch_stats}
        merged = self.parallel.place(weights.merge(drawn, self.given))
        averaged, taught = fresh.ema is not None, fresh.teacher is not None
        return state.from_variables(merged, self.optimizer, fresh.key, averaged, taught)

    def loop(
        self, now: TrainState, checkpoints: Checkpoints, writer: Writer, stop: StopSignal
    ) -> bool:
        """Trains to the end; False where a signal ended it before."""
        first, total = int(now.step), self.plan.total
        batches = self._batches(int(now.examples_seen))
        active, batch_size = is_main(), self.config.train.batch
        progress = Progress(total, first, batch_size, active=active, every=self.plan.log)
        step, saved = first, first
        try:
            while True:
                stopped = stop.agreed(step)
                due = step % self.plan.evaluate == 0 or step == total
                metrics = {}
                if due and step and not stopped:
                    self._write_pending(writer, progress, checkpoints)
                    metrics = self._evaluate(now, step, writer, stop)
                    stopped = stop.asked and not metrics
                if (step % self.plan.save == 0 or step == total or stopped) and step > saved:
                    self._write_pending(writer, progress, checkpoints)
                    self._save(now, step, checkpoints, metrics)
                    saved = step
                progress.pause()
                if step == total or stopped:
                    return step == total
                batch = next(batches)
                index = batch["index"]
                now, scalars = self.step(now, batch)
                self._write_pending(writer, progress, checkpoints)
                step += 1
                self.pending = Pending(step, scalars, index)
        except UserError:
            # Bad data end the run, but nothing that was learned is lost. (Several processes
            # save together or not at all, and the others know nothing of this.)
            if step > saved and self.parallel.processes == 1 and not self.refused:
                self._write_pending(writer, progress, checkpoints)
                self._save(now, step, checkpoints, {})
            raise
        finally:
            progress.close()

    def _batches(self, examples_seen: int) -> Iterator[dict[str, jax.Array]]:
        settings = self.config.data
        batches = self.data.batches(
            self.config.train.batch,
            examples_seen,
            self.parallel.process,
            self.parallel.processes,
            threads=settings.threads,
            workers=settings.workers,
            ahead=settings.prefetch,
        )
        return self.parallel.prefetch(batches)

    def _evaluate(
        self, now: TrainState, step: int, writer: Writer, stop: StopSignal
    ) -> dict[str, float]:
        """The first set's metrics of this state; none where a signal came meanwhile."""
        means: dict[str, float] = {}
        for name, evaluator in self.evaluators.items():
            found = evaluator.run(self.parallel.globally(now), stop)
            if found is None:
                return {}
            if not means:
                self.evaluation, means = found, found.means
            writer.scalars(step, found.means, prefix=f"evaluation/{name}".rstrip("/"))
            picture = writer.picture(step, found.picture, name or "validation")
            writer.say(f"step {step}: {found.line()}; pictures: {picture}")
            if is_main():
                file = evaluate.table_name(f"step_{step:07d}", name)
                evaluate.write(found, self.path / evaluate.TABLES, file)
        return means

    def _save(
        self, now: TrainState, step: int, checkpoints: Checkpoints, metrics: dict[str, float]
    ) -> None:
        position = Position(int(now.examples_seen), self.data.fingerprint)
        checkpoints.save(step, self.parallel.globally(now), position, metrics)

    def _write_pending(self, writer: Writer, progress: Progress, checkpoints: Checkpoints) -> None:
        """Fetches, checks and writes the numbers of the step before."""
        if self.pending is None:
            return
        step, scalars, index = self.pending
        self.pending = None
        values = {name: float(v) for name, v in self.parallel.to_host(scalars).items()}
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            self._refuse(step, wrong, index, checkpoints)
        progress.update(step, values["loss"])
        self.skipped += int(values.pop("skipped"))
        if self.skipped:
            values["skipped"] = self.skipped
        if step % self.plan.log == 0 or step == self.plan.total:
            values["learning_rate"] = float(self.rate(step // self.config.optimizer.accumulate))
            writer.scalars(step, values)

    def _refuse(
        self, step: int, wrong: list[str], index: jax.Array, checkpoints: Checkpoints
    ) -> None:
        """Stops at numbers that are not finite; the last checkpoint is from before them."""
        self.refused = True
        checkpoints.wait()
        newest = checkpoints.latest()
        kept = checkpoints.path(newest) if newest is not None else "none yet"
        rows = sorted({int(row) for part in index.addressable_shards for row in part.data})
        names = ", ".join(self.data.name(row) for row in rows[:4])
        raise UserError(
            f"step {step}: {', '.join(wrong)} not finite; batch of the rows {rows} ({names}, ...); "
            f"last good checkpoint: {kept}; lower optimizer.learning_rate or set optimizer.clip"
        )


class Pending(NamedTuple):
    """A step whose numbers have not been looked at."""

    step: int
    scalars: dict[str, jax.Array]
    rows: jax.Array


def train(config: ConfigDict, path: pathlib.Path) -> evaluate.Evaluation | None:
    """Trains what a configuration says, in a working directory; goes on where it was left.

    Args:
        config: A locked configuration.
        path: The working directory.

    Returns:
        The last evaluation; None where a signal stopped the run before one.
    """
    initialize()
    _require_sense(config)
    parallel = Parallel(config.parallel.mode, config.train.batch)
    workdir.require_same(path, config)
    run = Run(config, path, parallel)
    if is_main():
        workdir.record(path, config, parallel.describe())
    with (
        Checkpoints(path, config.checkpoint, parallel) as checkpoints,
        StopSignal(parallel) as stop,
    ):
        now = run.start(checkpoints)
        step = int(now.step)
        writer = Writer(path, active=is_main(), step=step, tensorboard=config.log.tensorboard)
        writer.say(_opening(run, now))
        try:
            finished = run.loop(now, checkpoints, writer, stop)
        finally:
            writer.close()
        checkpoints.wait()
        if is_main():
            print(_closing(run, checkpoints, finished))
    return run.evaluation


def _given_variables(
    config: ConfigDict, model: nn.Module, shapes: Any, parallel: Parallel
) -> dict[str, Any]:
    """The variables that `config.init` names, all or a part; empty where it names none."""
    init = config.init
    if not init.weights:
        return {}
    if init.layout != "jaxmatte":
        return weights.convert(weights.read(init.weights), model, layout=init.layout)
    path = pathlib.Path(init.weights)
    if not (path / FOLDER).is_dir():
        raise UserError(f"init.weights={init.weights!r} is no working directory of an earlier run")
    with Checkpoints(path, config.checkpoint, parallel) as checkpoints:
        step = checkpoints.best() or checkpoints.latest()
        if step is None:
            raise UserError(f"init.weights={init.weights!r} holds no checkpoint")
        return checkpoints.restore_variables(step, parallel.abstract(shapes), part=True)


def _require_sense(config: ConfigDict) -> None:
    if config.train.statistics not in STATISTICS:
        raise UserError(
            f"train.statistics={config.train.statistics!r}; there are: {', '.join(STATISTICS)}"
        )
    if config.train.teacher and not config.init.weights:
        raise UserError(
            "train.teacher compares a network with an earlier self, which must have learned "
            "something: give init.weights, such as the working directory of an earlier run with "
            "init.layout=jaxmatte"
        )
    axis = config.model.get("bn_axis")
    if axis is not None and (config.parallel.mode != "pmap" or axis != AXIS):
        raise UserError(
            f"model.bn_axis={axis!r} needs parallel.mode=pmap and can only be {AXIS!r}; "
            "under jit the statistics are those of the global batch already"
        )


def _opening(run: Run, now: TrainState) -> str:
    config, plan = run.config, run.plan
    count = parameter_overview.count_parameters(now.params)
    step = int(now.step)
    begun = f"starting from {config.init.weights or 'random weights'}"
    drawn = _drawn(run.given, now) if run.given else []
    if drawn:
        begun += f" ({len(drawn)} tensors it lacks are drawn: {', '.join(drawn[:2])}, ...)"
    went = f"going on from step {step}" if step else begun
    return (
        f"{config.name}: {count:,} parameters, {len(run.data)} examples an epoch, "
        f"{plan.total} steps of {config.train.batch} on {run.parallel.describe()}; "
        f"{went} in {run.path}"
    )


def _drawn(given: dict[str, Any], now: TrainState) -> list[str]:
    """The parameters that the weights of `config.init` do not hold."""
    held = flatten_dict(given.get("params", {}))
    return ["/".join(path) for path in flatten_dict(now.params) if path not in held]


def _closing(run: Run, checkpoints: Checkpoints, finished: bool) -> str:
    """The last line, which says where everything is."""
    if not finished:
        step = checkpoints.latest()
        kept = "before the first step" if step is None else f"step {step} is saved"
        return (
            f"stopped by a signal; {kept} in {run.path}/{FOLDER}: "
            "the same command goes on from there"
        )
    found = f"{run.evaluation.line()}; " if run.evaluation else ""
    return (
        f"done: {found}mattes in {run.path}/{PICTURES}, checkpoints in {run.path}/{FOLDER} "
        f"(best: {checkpoints.best()}, last: {checkpoints.latest()}), numbers in "
        f"{run.path}/{METRICS}"
        + (f"; {run.skipped} broken rows were passed over (see above)" if run.skipped else "")
    )
