"""What BiSeNet V2 minimises: cross entropy over hard pixels, of the main head and every booster."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxmatte.errors import UserError
from jaxmatte.papers.contract import Batch, Objective, Outputs

# The main head, then the booster heads by the stage that they read.
TERMS = ("main", "stage2", "stage3", "stage4", "stage5")
FORMS = ("ohem", "cross_entropy")

_SHARE = 16  # of so many labelled pixels one counts at least


def objective(
    outputs: Outputs,
    batch: Batch,
    *,
    form: str = "ohem",
    threshold: float = 0.7,
    class_weights: Sequence[float] = (),
) -> Objective:
    """The sum of a cross entropy over the main head and the boosters, each of weight 1.

    Args:
      outputs: of `Model`.
      batch: `label` [B, H, W, 1] int32; what is no class, such as 255, does not count. `mask`.
      form: "ohem", over hard pixels (`ohem`), or "cross_entropy", over all.
      threshold: of `ohem`.
      class_weights: one a class, for thin ones; the mean is weighted by them. (): all 1.
    """
    if form not in FORMS:
        raise UserError(f"bisenetv2: objective.form={form!r} must be one of {', '.join(FORMS)}")
    if not 0 < threshold < 1:
        raise UserError(f"bisenetv2: objective.threshold={threshold} must lie between 0 and 1")
    if "label" not in batch:
        raise UserError(
            "bisenetv2: learns from labels, which route bisenetv2 makes: set data.route"
        )
    classes = outputs["logits"].shape[-1]
    if class_weights and len(class_weights) != classes:
        raise UserError(
            f"bisenetv2: objective.class_weights has {len(class_weights)} numbers for {classes} "
            "classes"
        )
    label = batch["label"][..., 0]
    valid = (label >= 0) & (label < classes)
    if (mask := batch.get("mask")) is not None:
        valid &= mask.astype(bool)[:, None, None]
    weight = jnp.asarray(class_weights or (1.0,) * classes, jnp.float32)
    weight = jnp.where(valid, weight[jnp.where(valid, label, 0)], 0.0)

    terms: Objective = {}
    heads = (outputs["logits"], *outputs["auxiliary"])
    for name, logits in zip(TERMS, heads, strict=False):
        entropy = cross_entropy(logits, label, valid)
        chosen = weight
        if form == "ohem":
            chosen = weight * ohem(entropy, valid, threshold)
        terms[name] = (jnp.sum(chosen * entropy), jnp.sum(chosen))
    return terms


def cross_entropy(logits: jax.Array, label: jax.Array, valid: jax.Array) -> jax.Array:
    """Softmax cross entropy of each pixel [B, H, W]; 0, gradient included, where not `valid`."""
    logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
    # A comparison, not a gather, whose gradient would scatter.
    chosen = label[..., None] == jnp.arange(logits.shape[-1])
    entropy = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    return jnp.where(valid, entropy, 0.0)


def ohem(entropy: jax.Array, valid: jax.Array, threshold: float = 0.7) -> jax.Array:
    """Online hard example mining: which pixels count, 1 or 0, without a gradient.

    Hard is a pixel whose class has a probability below `threshold`. Where fewer than a sixteenth
    of the valid pixels of the whole batch are hard, that many of the greatest entropy count in
    their place; equals at the border of the choice share what is left to choose. Nothing counts
    where nothing is valid.

    Args:
      entropy: [B, H, W], 0 or more; 0 where not valid.
      valid: bool [B, H, W].
      threshold: a probability.

    Returns:
      [B, H, W] float32.
    """
    entropy = jnp.maximum(lax.stop_gradient(entropy), 0.0)  # rounding may leave a little less
    hard = valid & (entropy > jnp.float32(-math.log(threshold)))
    least = jnp.sum(valid) // _SHARE

    def greatest():
        border = kth_greatest(jnp.where(valid, entropy, 0.0), least)
        above = valid & (entropy > border)
        equal = valid & (entropy == border)
        share = (least - jnp.sum(above)) / jnp.maximum(jnp.sum(equal), 1)
        return jnp.where(above, 1.0, jnp.where(equal, share, 0.0)).astype(jnp.float32)

    return lax.cond(jnp.sum(hard) >= least, lambda: hard.astype(jnp.float32), greatest)


def kth_greatest(values: jax.Array, k: jax.Array) -> jax.Array:
    """The k-th greatest of float32 values of 0 or more, k from 1 to their number.

    Bisection on the bits, which such numbers are ordered by: 31 counts, exact, where a sort of
    a batch's pixels would take far longer, and gather them all on one device.
    """
    bits = lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)

    def narrow(i, found):
        candidate = found | (jnp.int32(1) << (30 - i))
        return jnp.where(jnp.sum(bits >= candidate) >= k, candidate, found)

    return lax.bitcast_convert_type(lax.fori_loop(0, 31, narrow, jnp.int32(0)), jnp.float32)
