"""What a guided network has to beat: the matte that its guide gives alone.

A trimap alone says 0.5 wherever it is unknown. A plate alone says that the subject is where the
picture's colours are far from the plate's; how far is chosen on training examples. Both are
measured as the network is: in the same run, on the same pictures, under the same protocol.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxmatte.data import pipeline
from jaxmatte.engine import steps
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.evaluate.columns import Column, columns
from jaxmatte.metrics import pair, protocols

NAME = "baseline"  # of its column
EXAMPLES = 32  # of training, on which the threshold is chosen
_FARTHEST = 255  # of two colours, by the channel in which they differ most


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found of a baseline.

    Attributes:
        about: How its mattes are made; or why there are none.
        label: Of its number, such as "MAD[dim, unknown]".
        value: The number, or None.
        name: Of the network's column with the same metric and protocol.
    """

    about: str
    label: str
    value: float | None
    name: str

    def times(self, means: dict[str, float]) -> float | None:
        """How many times the network's number it is; None where there is no such number."""
        own = means.get(self.name, math.nan)
        return None if self.value is None or not own > 0 else self.value / own

    def line(self, means: dict[str, float]) -> str:
        """It in words, beside the network's means."""
        if self.value is None:
            return f"no baseline: {self.about}"
        times = self.times(means)
        told = f"baseline, {self.about}: {self.label} {self.value:.4f}"
        return told if times is None else f"{told}, {times:.2f} times the network's"

    def summary(self, means: dict[str, float]) -> dict[str, Any]:
        """It as a record."""
        return {
            NAME: self.about,
            f"{NAME}, {self.label}": self.value,
            f"{NAME}, times the network's": self.times(means),
        }


def given(inputs: Sequence[str], measured: Sequence[Column]) -> tuple[str, ...]:
    """What a guided network's batches need beside pictures and alphas; nothing of an unguided one.

    Args:
        inputs: The network's.
        measured: The columns: some are of the unknown, as a trimap says where that is.
    """
    guides = tuple(name for name in inputs if name != "image")
    unknown = any(c.protocol.region != "whole" and not c.protocol.band for c in measured)
    return (*guides, "trimap") if guides and unknown and "trimap" not in guides else guides


class Baseline:
    """The baseline of a network that is guided."""

    def __init__(self, config: ConfigDict, group: ConfigDict, model: nn.Module, trimaps: bool):
        """Chooses what is measured: MAD, of the unknown if a protocol is of it.

        Args:
            config: The whole configuration.
            group: `evaluation`, as it is for the set.
            model: The network, whose inputs it has.
            trimaps: Whether the set has trimaps.
        """
        self._config, self._model, self._trimaps = config, model, trimaps
        found = columns(group.protocol, ("mad",), trimaps)
        unknown = [c for c in found if protocols.region(c.protocol, trimaps) == "unknown"]
        self._of = (unknown or found)[0]
        self.column = dataclasses.replace(self._of, name=NAME)
        self.about = ""

    def compile(self, parallel: Parallel) -> None:
        """Makes `score` ready: of a state, which it does not look at, and a batch.

        Raises:
            UserError: where there are no training examples.
        """
        inputs: Sequence[str] = self._model.inputs
        if "trimap" in inputs:
            self.about = "alpha = 0.5 where the trimap is unknown"
            rule = functools.partial(_of_trimap, at=inputs.index("trimap"))
        else:
            threshold = tuned(self._config, self.column, self._trimaps)
            self.about = f"1 where picture and plate are more than {threshold} levels apart"
            rule = functools.partial(_of_plate, at=inputs.index("plate"), threshold=threshold)
        scores = {NAME: (self.column.metric, self.column.protocol)}
        step = functools.partial(steps.eval_step, model=self._model, rule=rule, scores=scores)
        self.score: Callable[..., dict[str, jax.Array]] = parallel.compile_rows(step)

    def found(self, rows: Sequence[dict[str, Any]]) -> Found:
        """What the rows say, which have its column."""
        return Found(self.about, self.column.label, self.column.mean(rows), self._of.name)

    def missing(self, reason: UserError) -> Found:
        """What there is to say where it cannot be measured."""
        return Found(str(reason), self.column.label, None, self._of.name)


def _of_trimap(predict: object, *inputs: jax.Array, at: int) -> jax.Array:
    return inputs[at]  # its 0.5, and what is known


def _of_plate(predict: object, *inputs: jax.Array, at: int, threshold: int) -> jax.Array:
    levels = jnp.round(255 * jnp.abs(inputs[0] - inputs[at])).max(-1, keepdims=True)
    return (levels > threshold).astype(jnp.float32)


def tuned(config: ConfigDict, column: Column, trimaps: bool) -> int:
    """The threshold with the least MAD on the first examples that a run trains on.

    Args:
        config: The whole configuration.
        column: Under which protocol.
        trimaps: Whether the unknown is where a trimap says so.

    Returns:
        From -1, of all mattes all subject, to the greatest distance, of none.
    """
    data = pipeline.open_training(config.data, config.seed)
    costs = np.zeros(_FARTHEST + 2)
    for batch in itertools.islice(data.batches(1, threads=config.data.threads), EXAMPLES):
        if "plate" not in batch:
            raise UserError(f"data.route={config.data.route!r} gives no plates to choose it by")
        apart = cv2.absdiff(batch["image"][0], batch["plate"][0]).max(-1)
        trimap = batch["trimap"][0, ..., 0] if trimaps else None
        costs += threshold_costs(apart, batch["alpha"][0, ..., 0], trimap, column)
    return int(np.argmin(costs)) - 1


def threshold_costs(
    apart: np.ndarray, alpha: np.ndarray, trimap: np.ndarray | None, column: Column
) -> np.ndarray:
    """The MAD of a picture's matte at every threshold from -1 to 255: [257].

    Args:
        apart: How far picture and plate are apart, whole numbers [H,W].
        alpha: [H,W] uint8.
        trimap: [H,W] uint8, or None.
        column: Under which protocol.
    """
    ready = pair.prepare(alpha, alpha, trimap, column.protocol)
    apart = apart[: ready.truth.shape[0], : ready.truth.shape[1]]
    there = ready.truth / 255
    if ready.summed is not None:
        apart, there = apart[ready.summed], there[ready.summed]
    # A pixel that is no further apart is 0 in the matte, so that its alpha is its error.
    missed = np.bincount(apart.ravel(), there.ravel(), _FARTHEST + 1)
    spilled = np.bincount(apart.ravel(), 1 - there.ravel(), _FARTHEST + 1)
    errors = np.concatenate([[0.0], np.cumsum(missed - spilled)]) + spilled.sum()
    return errors / max(ready.pixels, 1)
