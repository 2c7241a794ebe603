"""A network, a loss and data small enough to train in a test, with what makes parallelism hard."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxmatte import losses
from jaxmatte.engine import state, steps
from jaxmatte.layers import BatchNorm


class Toy(nn.Module):
    """Two convolutions with BatchNorm between them."""

    bn_axis: str | None = None
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    @nn.compact
    def __call__(self, image, train: bool):
        x = nn.Conv(4, (3, 3), name="first")(image)
        x = BatchNorm(axis_name=self.bn_axis, name="norm")(x, train)
        logits = nn.Conv(1, (1, 1), name="last")(nn.relu(x))
        return {"alpha": nn.sigmoid(logits)}


def objective(outputs, batch):
    """A masked mean and a released one, whose denominator has a constant added."""
    region = losses.transition(batch["trimap"])
    alpha, mask = batch["alpha"], batch["mask"]
    rest = {"mask": mask, "form": "released", "replicas": batch["replicas"]}
    return {
        "plain": losses.alpha_loss(outputs["alpha"], alpha, region, mask=mask),
        "released": losses.alpha_loss(outputs["alpha"], alpha, region, **rest),
    }


def batch(seed, rows=16, side=8):
    """A batch whose unknown regions and padding are spread unevenly over the rows."""
    rng = np.random.default_rng(seed)
    reach = np.linspace(0.02, 0.9, rows)[:, None, None, None]  # a device sees little, another much
    return {
        "image": rng.random((rows, side, side, 3), np.float32),
        "alpha": rng.random((rows, side, side, 1), np.float32),
        "trimap": np.where(rng.random((rows, side, side, 1)) < reach, 128, 255).astype(np.uint8),
        "mask": np.arange(rows) % 5 != 3,
        "index": np.arange(rows, dtype=np.int32),
        "size": np.full((rows, 2), side, np.int32),
    }


OPTIMIZER = optax.sgd(0.5)


def step(bn_axis=None):
    return functools.partial(
        steps.train_step, model=Toy(bn_axis), objective=objective, optimizer=OPTIMIZER
    )


def new_state(averaged=False):
    return state.create(Toy(), OPTIMIZER, jax.random.key(1), averaged)


def difference(one, other):
    """The largest difference of any leaf."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(jnp.max(jnp.abs(jnp.asarray(a) - jnp.asarray(b)))) for a, b in pairs)
