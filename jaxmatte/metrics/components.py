"""Conn on the device: components by pointer jumping, for GPUs.

It tells what `metrics.connectivity` tells on the host. Pointer jumping gathers and scatters single
numbers, which TPUs are slow at; there, and on the CPU, Conn is better measured on host threads.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.metrics.connectivity import NEAR, STEPS, byte_thresholds, thresholds, value_of
from jaxmatte.metrics.padded import Padded, exact_sum, least_float
from jaxmatte.metrics.protocols import Connectivity

_UNIT = 2**24  # floats are measured in whole numbers of 1 / _UNIT


def conn_of(pair: Padded) -> jax.Array:
    """The connectivity error of a batch that is ready, float32 `[B]`."""
    errors, unit = _errors_of_bytes(pair) if pair.is_bytes else _errors_of_floats(pair)
    # No division: XLA makes a product of some, with other last digits.
    factor = np.float32(1 / (unit * pair.protocol.connectivity.scale))
    return exact_sum(jnp.where(pair.counted, errors, 0)) * factor


def level_map(
    passed: jax.Array, rule: Connectivity, inside: jax.Array | None = None, steps: int = STEPS
) -> jax.Array:
    """The level up to which each pixel is connected, in tenths.

    Args:
      passed: how many thresholds the pixel passes, whole numbers `[H, W]` or `[B, H, W]`.
      rule: which component is the largest, and what an empty threshold means.
      inside: bool, as `passed`: the pixels that there are. None: all.
      steps: the last threshold that counts.

    Returns:
      int32, as `passed`; 0 where nothing is.
    """
    inside = jnp.ones(passed.shape, bool) if inside is None else inside
    passed = jnp.where(inside, passed.astype(jnp.int32), 0)
    if rule.ties == "columns":
        passed, inside = (jnp.swapaxes(array, -1, -2) for array in (passed, inside))
    one = functools.partial(
        _level_map, behind=rule.largest == "any", skipped=rule.empty == "skipped", steps=steps
    )
    levels = (one if passed.ndim == 2 else jax.vmap(one))(passed, inside)
    return jnp.swapaxes(levels, -1, -2) if rule.ties == "columns" else levels


@functools.partial(jax.jit, static_argnames="steps")
def _level_map(
    passed: jax.Array, inside: jax.Array, behind: jax.Array, skipped: jax.Array, steps: int
) -> jax.Array:
    """Of one picture, of equals the first in rows.

    From the highest threshold down: each component lies in one of the next, so that what is joined
    stays joined, and the lowest threshold that leaves a pixel out has the last word.

    Args:
      passed: int32 `[H, W]`.
      inside: bool `[H, W]`.
      behind: whether all below the threshold is a component too.
      skipped: whether a threshold that nothing passes is left out.
      steps: the last threshold that counts.
    """

    def lower(carry: tuple[jax.Array, jax.Array], level: jax.Array) -> tuple:
        root, levels = carry
        mask = passed >= level
        root = _join(root, mask)
        sizes = jnp.zeros(root.size, jnp.int32).at[root.ravel()].add(mask.ravel())
        winner = jnp.argmax(sizes)
        rest = inside & ~mask
        wins = behind & (rest.sum() >= sizes[winner])
        component = jnp.where(wins, rest, mask & (root == winner))
        empty = skipped & ~mask.any()
        return (root, jnp.where(component | empty, levels, level - 1)), None

    alone = jnp.arange(passed.size, dtype=jnp.int32).reshape(passed.shape)
    levels = jnp.full(passed.shape, STEPS, jnp.int32)
    (_, levels), _ = jax.lax.scan(lower, (alone, levels), jnp.arange(steps, 0, -1))
    return jnp.where(inside, levels, 0)


def _join(root: jax.Array, mask: jax.Array) -> jax.Array:
    """Joins neighbours in the mask; each pixel then points to the first of its component.

    Args:
      root: int32 `[H, W]`, for each pixel one of its component that does not come after it.
      mask: bool `[H, W]`.
    """
    none = root.size

    def jump(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, _ = carry
        seen = jnp.pad(jnp.where(mask, before, none), 1, constant_values=none)
        least = jnp.minimum(
            jnp.minimum(seen[:-2, 1:-1], seen[2:, 1:-1]),
            jnp.minimum(seen[1:-1, :-2], seen[1:-1, 2:]),
        )
        least = jnp.where(mask, jnp.minimum(before, least), before).ravel()
        old = before.ravel()
        # Whatever a pixel points to follows its neighbour as well. Most have nothing to tell, and
        # GPUs are slow where many write to one place.
        told = jnp.where(least < old, old, none)
        after = jnp.minimum(old, least).at[told].min(least, mode="drop")
        after = after[after][after].reshape(mask.shape)
        return after, (after != before).any()

    return jax.lax.while_loop(lambda carry: carry[1], jump, (root, jnp.array(True)))[0]


def _errors_of_bytes(pair: Padded) -> tuple[jax.Array, int]:
    """Errors `[B, H, W, 1]` as whole numbers, and how many of them are 1."""
    rule = pair.protocol.connectivity
    common = jnp.minimum(pair.prediction, pair.truth)
    passed = _count([common >= int(least) for least in byte_thresholds(rule)])
    levels = _levels(passed, pair)
    rises = (2 * matte - 51 * levels for matte in (pair.prediction, pair.truth))
    predicted, true = (jnp.where(rise >= 77, rise, 0) for rise in rises)
    return jnp.abs(predicted - true), 510


def _errors_of_floats(pair: Padded) -> tuple[jax.Array, int]:
    """Errors `[B, H, W, 1]` as whole numbers, and how many of them are 1."""
    rule = pair.protocol.connectivity
    limits = zip(_limits(rule, pair.predicts_bytes), _limits(rule, True), strict=True)
    passed = _count([(pair.prediction >= low) & (pair.truth >= high) for low, high in limits])
    levels = _levels(passed, pair)
    values = value_of(np.arange(STEPS + 1), rule)
    base = jnp.asarray(np.rint(values * _UNIT), jnp.int32)[levels]
    far = jnp.asarray(least_float(lambda matte: matte - values >= NEAR, values + NEAR))[levels]
    predicted, true = (
        jnp.where(matte >= far, jnp.round(matte * _UNIT).astype(jnp.int32) - base, 0)
        for matte in (pair.prediction, pair.truth)
    )
    return jnp.abs(predicted - true), _UNIT


def _count(passes: list[jax.Array]) -> jax.Array:
    """How many of the thresholds are passed, of 1 .. 9.

    Who passes the tenth is 1 in both mattes, and rises above no level by as much as counts.
    """
    count = jnp.zeros(passes[0].shape, jnp.int32)
    for mask in passes[1:STEPS]:
        count += mask
    return count


def _levels(passed: jax.Array, pair: Padded) -> jax.Array:
    rule, inside = pair.protocol.connectivity, pair.inside[..., 0]
    return level_map(passed[..., 0], rule, inside, STEPS - 1)[..., None]


def _limits(rule: Connectivity, of_bytes: bool) -> np.ndarray:
    """The least float32 that pass the levels 0, .1 .. 1, `[11]`.

    Args:
      rule: how thresholds are compared.
      of_bytes: the values are bytes over 255, which pass what they pass on the host in float64.
    """
    values = thresholds(rule)
    limits = least_float(lambda matte: matte >= values, values)
    if of_bytes:
        fails = ((byte_thresholds(rule) - 1) / 255).astype(np.float32)
        limits = np.maximum(limits, np.nextafter(fails, np.float32(2)))
    return limits
