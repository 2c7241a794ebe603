"""All that training changes, in one tree."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxmatte.papers.contract import CHANNELS

SMALL = 64  # side of the picture that shapes the parameters; they do not depend on it


@flax.struct.dataclass
class TrainState:
    """The state of a run; saved whole, it resumes to the bit.

    Attributes:
        step: Steps done.
        examples_seen: Examples drawn; the position in the data, whatever the batch size was.
        params: The parameters.
        batch_stats: Running statistics of the BatchNorms.
        opt_state: The optimizer's.
        ema: Averaged parameters, or None.
        teacher: The frozen copy of the variables that the objective compares with, or None.
        key: Random key of the run; a step folds its number in.
    """

    step: jax.Array
    examples_seen: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any
    key: jax.Array
    teacher: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation applies: the averaged parameters where there are any."""
        params = self.params if self.ema is None else self.ema
        return {"params": params, "batch_stats": self.batch_stats}


def initial_variables(model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Draws a model's variables; pure, so that `jax.eval_shape` gives their shapes for nothing."""
    inputs = [jnp.zeros((1, SMALL, SMALL, CHANNELS[name])) for name in model.inputs]
    variables = model.init(key, *inputs, train=False)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def create(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    averaged: bool,
    taught: bool = False,
) -> TrainState:
    """The state before the first step; pure, for `jax.jit` and `jax.eval_shape`."""
    init_key, run_key = jax.random.split(key)
    variables = initial_variables(model, init_key)
    return from_variables(variables, optimizer, run_key, averaged, taught)


def from_variables(
    variables: dict[str, Any],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    averaged: bool,
    taught: bool = False,
) -> TrainState:
    """The state before the first step, from given variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        examples_seen=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(params),
        # Copies: a state whose leaves share memory cannot be donated.
        ema=jax.tree.map(jnp.copy, params) if averaged else None,
        key=key,
        teacher=jax.tree.map(jnp.copy, dict(variables)) if taught else None,
    )


def frozen(variables: dict[str, Any], step: int = 0) -> TrainState:
    """A state that is only evaluated: there is no optimizer."""
    number, seen = jnp.asarray(step, jnp.int32), jnp.zeros((), jnp.int32)
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(number, seen, params, batch_stats, (), None, jax.random.key(0))
