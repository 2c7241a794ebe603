"""The steps, pure: what one batch does to the state, and what a batch scores.

Nothing here knows of devices. `axis_name` is set where a step runs once per replica; then the
replicas' totals and weights meet before they are divided, because a mean of masked means is not
the mean.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxmatte.engine.state import TrainState
from jaxmatte.metrics import device
from jaxmatte.metrics.protocols import Protocol

Batch = dict[str, jax.Array]
Terms = dict[str, tuple[jax.Array, jax.Array]]
Objective = Callable[[dict[str, jax.Array], dict[str, Any]], Terms]
Rule = Callable[..., jax.Array]


def decode(batch: Batch) -> Batch:
    """Turns the loader's uint8 into 0..1; a trimap's 128 becomes exactly one half.

    A `label` is a class number and stays one.
    """
    decoded = {}
    for name, value in batch.items():
        if name == "label":
            value = value.astype(jnp.int32)
        elif value.dtype == jnp.uint8:
            scaled = value.astype(jnp.float32) / 255.0
            value = jnp.where(value == 128, 0.5, scaled) if name == "trimap" else scaled
        decoded[name] = value
    return decoded


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema: float = 0.0,
    statistics: str = "batch",
    teacher_every: int = 0,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update.

    Args:
        state: The state before.
        batch: Arrays [B, ...]; under `axis_name`, this replica's share.
        model: Gives the outputs.
        objective: Gives `{term: (total, weight)}`; the loss is the sum of total / weight.
        optimizer: Turns gradients into updates.
        ema: Decay of the averaged parameters, where the state has them.
        statistics: What BatchNorms normalise by: the "batch", or the "running" ones, which stay.
        teacher_every: Steps after which the frozen copy is taken anew, where the state has one.
        axis_name: The axis that the replicas share, or None where the program is global.

    Returns:
        The state after, and scalars: `loss`, every term, `gradient_norm`, and `skipped`, the
        number of broken rows that others stand in for.
    """
    replicas = jax.lax.axis_size(axis_name) if axis_name else 1
    batch = decode(batch)
    inputs = tuple(batch[name] for name in model.inputs)
    given = {**batch, "replicas": replicas}
    teacher = state.teacher
    if teacher is not None:
        teacher = _taken_anew(state, teacher_every)
        given["teacher"] = model.apply(teacher, *inputs, train=False)
    key = jax.random.fold_in(state.key, state.step)
    if axis_name:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def loss_of(params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
        outputs, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            *inputs,
            train=statistics == "batch",
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        terms = _divide(objective(outputs, given), axis_name)
        return sum(terms.values(), start=jnp.zeros(())), (terms, updates.get("batch_stats", {}))

    (loss, (terms, batch_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    if axis_name:
        gradient, loss, terms = jax.lax.psum((gradient, loss, terms), axis_name)
        batch_stats = jax.lax.pmean(batch_stats, axis_name)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    averaged = state.ema
    if averaged is not None:
        averaged = optax.incremental_update(params, averaged, 1.0 - ema)
    after = dataclasses.replace(
        state,
        step=state.step + 1,
        examples_seen=state.examples_seen + replicas * batch["mask"].shape[0],
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=averaged,
        teacher=teacher,
    )
    skipped = jnp.sum(batch.get("skipped", jnp.zeros((), jnp.int32)))
    if axis_name:
        skipped = jax.lax.psum(skipped, axis_name)
    norm = optax.tree.norm(gradient)
    return after, {"loss": loss, **terms, "gradient_norm": norm, "skipped": skipped}


def _taken_anew(state: TrainState, every: int) -> Any:
    """The frozen copy that this step compares with: the student of every so-manieth step."""
    now = {"params": state.params, "batch_stats": state.batch_stats}
    due = state.step % every == 0
    return jax.tree.map(lambda new, kept: jnp.where(due, new, kept), now, state.teacher)


def _divide(terms: Terms, axis_name: str | None) -> dict[str, jax.Array]:
    """Each term's share of the loss: this replica's total over everybody's weight."""
    weights = {name: weight for name, (_, weight) in terms.items()}
    if axis_name:
        weights = jax.lax.psum(weights, axis_name)
    return {
        name: jnp.where(
            weights[name] > 0, total / jnp.where(weights[name] > 0, weights[name], 1), 0
        )
        for name, (total, _) in terms.items()
    }


def predict_step(state: TrainState, batch: Batch, *, model: nn.Module, rule: Rule) -> jax.Array:
    """Mattes [B,H,W,1] in 0..1, or what else a test-time rule makes.

    A `predicted_trimap` goes to the network in place of the set's, by which is only measured.
    """
    batch = decode(batch)
    inputs = tuple(batch.get(f"predicted_{name}", batch.get(name)) for name in model.inputs)

    def predict(*inputs: jax.Array) -> dict[str, jax.Array]:
        outputs: Any = model.apply(state.variables, *inputs, train=False)
        return outputs

    return rule(predict, *inputs)


def eval_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nn.Module,
    rule: Rule,
    scores: Mapping[str, tuple[str, Protocol]],
) -> dict[str, jax.Array]:
    """Scores of each example [B], and its `matte` [B,H,W,1]; the mask takes out padded rows.

    Args:
        state: Whose mattes are scored.
        batch: As the loader gives it; with `band`, the trimaps that a protocol makes itself.
        model: Gives the outputs.
        rule: Makes mattes of them.
        scores: A metric and its protocol for each name.
    """
    matte = predict_step(state, batch, model=model, rule=rule)
    found = {"matte": matte}
    for protocol in dict.fromkeys(protocol for _, protocol in scores.values()):
        names = {metric: name for name, (metric, of) in scores.items() if of == protocol}
        values = device.per_example(
            matte, batch["alpha"], trimap(batch, protocol), batch["size"], protocol, tuple(names)
        )
        found |= {names[metric]: value for metric, value in values.items()}
    return found


def trimap(batch: Mapping[str, Any], protocol: Protocol) -> Any:
    """The trimap that a protocol measures by: the set's, or its own; None where there is none."""
    return batch.get("trimap", batch.get("band") if protocol.band else None)
