"""Checkpoints: written beside the training, read back whole or not at all.

The only room that imports orbax. A checkpoint holds the state, the position in the data, and a
digest of every leaf: a file that was damaged on the disk is found out when it is read, which orbax
alone does not do.
"""

import dataclasses
import math
import pathlib
import shutil
import sys
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from jaxmatte.engine.parallel import Parallel, is_main
from jaxmatte.errors import UserError

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Position:
    """Where in the data a state belongs."""

    examples_seen: int
    fingerprint: str


def higher_is_better(metric: str) -> bool:
    """Whether a metric grows with quality, as overlaps do; errors fall."""
    return metric.startswith(("miou", "iou"))


class Checkpoints:
    """The checkpoints of one working directory: the newest few and the best."""

    def __init__(self, workdir: pathlib.Path, config: ConfigDict, parallel: Parallel):
        """Opens the folder, which need not exist yet.

        Args:
            workdir: The working directory.
            config: The group `checkpoint` of the configuration.
            parallel: Where states are.
        """
        self.folder = (workdir / FOLDER).absolute()
        self._best = config.best
        self._parallel = parallel
        self._set_aside_husks()
        higher = higher_is_better(config.best)
        best = policy.BestN(
            get_metric_fn=lambda metrics: metrics[self._best],
            reverse=not higher,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics[self._best],
            best_mode="max" if higher else "min",
            preservation_policy=policy.AnyPreservationPolicy([policy.LatestN(config.keep), best]),
            enable_async_checkpointing=config.asynchronous,
        )
        handlers: dict[str, ocp.CheckpointHandler] = {
            "state": ocp.StandardCheckpointHandler(),
            "record": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def _set_aside_husks(self) -> None:
        """Removes numbered folders that hold no finished checkpoint: orbax would count them."""
        if is_main() and self.folder.is_dir():
            for folder in self.folder.iterdir():
                if folder.name.isdigit() and not (folder / "_CHECKPOINT_METADATA").exists():
                    print(
                        f"warning: {folder} holds no finished checkpoint; it is removed",
                        file=sys.stderr,
                    )
                    shutil.rmtree(folder)
        self._parallel.barrier("checkpoints")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best checkpoint by the metric, or None where none has been evaluated."""
        return self._manager.best_step()

    def path(self, step: int) -> pathlib.Path:
        """Where a checkpoint lies."""
        return self.folder / str(step)

    def save(self, step: int, state: Any, position: Position, metrics: dict[str, float]) -> None:
        """Starts to write a checkpoint, and goes on while it is written.

        Args:
            step: Steps done.
            state: The state; its arrays may be donated right after.
            position: Where in the data it belongs.
            metrics: Of an evaluation of just this state, or nothing.
        """
        if step in self._manager.all_steps():
            return
        record = dataclasses.asdict(position) | {"digest": _digest(state)}
        best = float(metrics.get(self._best, math.nan))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
            ),
            # A metric that is not a number would win every comparison.
            metrics={self._best: best} if math.isfinite(best) else None,
            force=True,
        )

    def wait(self) -> None:
        """Returns when everything is on the disk."""
        self._manager.wait_until_finished()

    def restore(self, step: int, abstract: Any) -> tuple[Any, Position]:
        """Reads a checkpoint into the shapes given, or says which leaves do not fit."""
        self._require_fit(step, abstract)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()
                ),
            )
        except (ValueError, OSError, KeyError) as error:
            raise self._damaged(step, str(error).splitlines()[0]) from error
        record = restored.record
        digest = _digest(restored.state)
        wrong = [name for name, value in digest.items() if record["digest"].get(name) != value]
        if wrong:
            raise self._damaged(step, f"{len(wrong)} leaves are not what was saved: {wrong[0]}")
        return restored.state, Position(record["examples_seen"], record["fingerprint"])

    def restore_variables(
        self, step: int, abstract: dict[str, Any], part: bool = False
    ) -> dict[str, Any]:
        """Reads only the parameters (averaged, where there are any) and batch statistics.

        Args:
            step: Of the checkpoint.
            abstract: Shapes of the model's variables.
            part: Whether the checkpoint may lack some of them, as that of an earlier stage does,
                which had a smaller network; they are left out.
        """
        tree = self._manager.item_metadata(step).state
        names = ("params", "batch_stats")
        saved = _shapes({name: tree[name] for name in names})
        if part:
            wanted = flatten_dict(abstract)
            held = {path: leaf for path, leaf in wanted.items() if "/".join(path) in saved}
            abstract = {name: {} for name in names} | unflatten_dict(held or wanted)
        _require_same(saved, _shapes(abstract), self.path(step))
        source = "params" if tree.get("ema") is None else "ema"
        item = {source: abstract["params"], "batch_stats": abstract["batch_stats"]}
        with ocp.PyTreeCheckpointer() as reader:
            restored = reader.restore(
                self.path(step) / "state",
                args=ocp.args.PyTreeRestore(
                    item=item,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(item),
                    partial_restore=True,
                ),
            )
        return {"params": restored[source], "batch_stats": restored["batch_stats"]}

    def _require_fit(self, step: int, abstract: Any) -> None:
        saved = self._manager.item_metadata(step).state
        if saved is None:
            raise self._damaged(step, "its description cannot be read")
        _require_same(_shapes(saved), _shapes(abstract), self.path(step))

    def _damaged(self, step: int, why: str) -> UserError:
        others = [number for number in self._manager.all_steps() if number != step]
        hint = (
            f"take {self.path(step)} away to go on from step {max(others)}"
            if others
            else ("there is no other; start in another working directory")
        )
        return UserError(f"checkpoint {self.path(step)} is damaged ({why}); {hint}")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): _shape(leaf) for path, leaf in leaves if hasattr(leaf, "shape")}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shape(leaf: Any) -> tuple[int, ...]:
    if _is_key(leaf):  # on the disk a key is the integers that it is made of
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _require_same(
    saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], path: pathlib.Path
) -> None:
    missing = [name for name in wanted if name not in saved]
    extra = [name for name in saved if name not in wanted]
    shapes = [
        f"{name} {saved[name]} instead of {wanted[name]}"
        for name in wanted
        if name in saved and saved[name] != wanted[name]
    ]
    found = [("lacks", missing), ("has besides", extra), ("has other shapes:", shapes)]
    told = [
        f"{what} {', '.join(names[:3])} ({len(names)} in all)" for what, names in found if names
    ]
    if told:
        raise UserError(f"checkpoint {path} does not fit the model: it {'; it '.join(told)}")


def _digest(state: Any) -> dict[str, int]:
    """A number for each leaf that changes with any of its bits.

    On the host, where a checkpoint goes anyway: a program over thousands of leaves takes longer to
    compile than they take to add up.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_name(path): _sum_of_bits(leaf) for path, leaf in leaves}


def _sum_of_bits(leaf: jax.Array) -> int:
    if _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    values = np.ascontiguousarray(leaf).ravel()
    word = {1: np.uint8, 2: np.uint16}.get(values.dtype.itemsize, np.uint32)  # of 8 bytes: two
    bits = values.view(word).astype(np.uint32)
    # Odd factors that differ from place to place: swapped values are found out too.
    places = np.arange(bits.size, dtype=np.uint32) * np.uint32(2654435761) | np.uint32(1)
    return int(np.sum(bits * places, dtype=np.uint32))
