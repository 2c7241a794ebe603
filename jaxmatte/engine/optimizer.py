"""An optax transformation from a configuration."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxmatte.errors import UserError

FROZEN, TRAINED = "frozen", "trained"


def schedule(config: ConfigDict, total: int, to_steps: Callable[[str, str], int]) -> optax.Schedule:
    """The learning rate at each update.

    Args:
        config: The group `optimizer` of the configuration.
        total: Updates in the whole run.
        to_steps: Turns a duration and its field's name into updates.
    """
    rate = config.learning_rate
    warmup = to_steps(config.warmup, "optimizer.warmup")
    rest = max(total - warmup, 1)
    if config.schedule == "constant":
        main = optax.constant_schedule(rate)
    elif config.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, rest, config.final)
    elif config.schedule == "linear":
        main = optax.linear_schedule(rate, rate * config.final, rest)
    elif config.schedule == "polynomial":
        main = _polynomial(rate, rest, config.power, config.final)
    elif config.schedule == "step":
        falls = [to_steps(text, "optimizer.step_at") - warmup for text in config.step_at]
        main = optax.piecewise_constant_schedule(rate, dict.fromkeys(falls, config.step_factor))
    else:
        raise UserError(
            f"optimizer.schedule={config.schedule!r}; there are: "
            "constant, cosine, linear, polynomial, step"
        )
    rising = _warmup(config, warmup)
    return optax.join_schedules([rising, main], [warmup]) if warmup else main


def _polynomial(rate: float, steps: int, power: float, final: float) -> optax.Schedule:
    """Falls from `rate` to `final * rate` as (1 - t / steps) ** power, and stays there."""
    if power <= 0:
        raise UserError(f"optimizer.power={power}: give a number above 0")

    def falling(count: Any) -> Any:
        # Whole numbers are subtracted before they are divided: exact to the last update.
        left = jnp.maximum(steps - count, 0) / steps
        return rate * ((1 - final) * left**power + final)

    return falling


def _warmup(config: ConfigDict, steps: int) -> optax.Schedule:
    """Rises to the full rate, which update `steps` has."""
    rate, start = config.learning_rate, config.warmup_from
    if not 0 <= start <= 1:
        raise UserError(f"optimizer.warmup_from={start}: give a share of the full rate, 0 to 1")
    if config.warmup_shape == "exponential":
        if start == 0:
            raise UserError(
                "optimizer.warmup_from=0: an exponential warm-up needs a share above 0, such as 0.1"
            )
        return lambda count: rate * start ** (1 - count / max(steps, 1))
    if config.warmup_shape != "linear":
        raise UserError(
            f"optimizer.warmup_shape={config.warmup_shape!r}; there are: linear, exponential"
        )
    if start:
        return lambda count: rate * (start + (1 - start) * (count / max(steps, 1)))
    # The first update has a rate above 0: it is update 1 of `steps`, not update 0.
    return optax.linear_schedule(rate / max(steps, 1), rate, max(steps - 1, 1))


def build(config: ConfigDict, params: Any, rate: optax.Schedule) -> optax.GradientTransformation:
    """Clipping, the optimizer, weight decay, groups, freezing and accumulation, in this order.

    Args:
        config: The group `optimizer` of the configuration.
        params: The parameters or their shapes; only their paths are read.
        rate: The learning rate at each update.
    """
    paths = _paths(params)
    leaves = jax.tree.leaves(paths)
    _require_matches(config.freeze, leaves, "optimizer.freeze")
    _require_matches([pattern for pattern, _ in config.groups], leaves, "optimizer.groups")
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    if config.clip_running:
        parts.append(clip_by_running_norm(config.clip_running))
    core = [_core(config)]
    if config.weight_decay:
        decayed = jax.tree.map(lambda path: bool(re.search(config.decay_pattern, path)), paths)
        decay = optax.add_decayed_weights(config.weight_decay, _masking(decayed))
        # adamw decays beside the gradient's statistics; adam and sgd add to the gradient itself.
        core = [*core, decay] if config.name == "adamw" else [decay, *core]
    parts += [*core, optax.scale_by_learning_rate(rate)]
    for number, (_, factor) in enumerate(config.groups):
        chosen = jax.tree.map(lambda path, n=number: _group(path, config.groups) == n, paths)
        parts.append(optax.masked(optax.scale(factor), _masking(chosen)))
    transformation = optax.chain(*parts)
    if config.freeze:
        labels = jax.tree.map(
            lambda path: FROZEN if any(re.search(p, path) for p in config.freeze) else TRAINED,
            paths,
        )
        transformation = optax.partition(
            {TRAINED: transformation, FROZEN: optax.set_to_zero()}, labels
        )
    if config.accumulate > 1:
        steps = optax.MultiSteps(transformation, config.accumulate)
        transformation = optax.GradientTransformation(steps.init, steps.update)
    return transformation


class RunningNorm(NamedTuple):
    """State of `clip_by_running_norm`: the running global norm, 0 before the first gradient."""

    norm: jax.Array


def clip_by_running_norm(factor: float, decay: float = 0.999) -> optax.GradientTransformation:
    """Scales gradients down to `factor` times the running mean of their global norms.

    The first gradient passes and begins the mean; every later one enters it after it was compared,
    with its norm before clipping, by a share of 1 - `decay`.
    """
    if factor < 1:
        # Below 1, gradients as usual would be cut.
        raise UserError(f"optimizer.clip_running={factor}: give 1 or more, or 0 for no clipping")

    def init(params: Any) -> RunningNorm:
        del params
        return RunningNorm(jnp.zeros((), jnp.float32))

    def update(gradient: Any, state: RunningNorm, params: Any = None) -> tuple[Any, RunningNorm]:
        del params
        norm = optax.tree.norm(gradient).astype(jnp.float32)
        begun = state.norm > 0
        limit = jnp.where(begun, factor * state.norm, norm)
        share = jnp.where(norm > limit, limit / norm, 1.0)
        after = jnp.where(begun, decay * state.norm + (1 - decay) * norm, norm)
        clipped = jax.tree.map(lambda leaf: leaf * share.astype(leaf.dtype), gradient)
        return clipped, RunningNorm(after)

    return optax.GradientTransformation(init, update)


def _core(config: ConfigDict) -> optax.GradientTransformation:
    first, second = config.betas
    if config.name in ("adam", "adamw"):
        return optax.scale_by_adam(first, second, config.epsilon)
    if config.name == "sgd":
        return optax.trace(config.momentum) if config.momentum else optax.identity()
    raise UserError(f"optimizer.name={config.name!r}; there are: adam, adamw, sgd")


def _masking(mask: Any) -> Callable[[Any], Any]:
    """A mask as optax wants it within a partition, where frozen leaves are masked away."""

    def apply(updates: Any) -> Any:
        return jax.tree.map(
            lambda leaf, chosen: leaf if isinstance(leaf, optax.MaskedNode) else chosen,
            updates,
            mask,
            is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode),
        )

    return apply


def _group(path: str, groups: Any) -> int | None:
    return next((n for n, (pattern, _) in enumerate(groups) if re.search(pattern, path)), None)


def _paths(params: Any) -> Any:
    """The tree of parameters with each leaf's path, such as encoder/layer1_0/conv1/kernel."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def _require_matches(patterns: Any, paths: list[str], field: str) -> None:
    for pattern in patterns:
        try:
            found = any(re.search(pattern, path) for path in paths)
        except re.error as error:
            raise UserError(f"{field}: {pattern!r} is not a regular expression: {error}") from None
        if not found:
            raise UserError(f"{field}: no parameter's path has {pattern!r}; one is {paths[0]!r}")
