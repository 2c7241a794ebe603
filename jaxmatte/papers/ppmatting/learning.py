"""What PP-Matting and its siblings minimise."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxmatte import losses
from jaxmatte.errors import UserError
from jaxmatte.layers import average_pool, downsample, upsample
from jaxmatte.losses import Pair, transition
from jaxmatte.papers.contract import Batch, Objective, Outputs
from jaxmatte.papers.ppmatting.human import SCALE
from jaxmatte.papers.ppmatting.semantic import BACKGROUND, FOREGROUND, TRANSITION

FORMS = {"released": 0.25, "paper": 1.0}  # the weight of each of the three parts

_PLANES: tuple[Literal["alpha", "trimap", "foreground", "background"], ...] = (
    "alpha",
    "trimap",
    "foreground",
    "background",
)
_EPSILON = 1e-6  # in every root, denominator and logarithm; in the roots it is not squared


def objective(outputs: Outputs, batch: Batch, *, form: str = "released") -> Objective:
    """What the network minimises: of the semantic map, the details and the fusion.

    L = w (CE + R^T + G^T of the details, R + R of the composition + G of the fusion), with R the
    `root_distance`, G the `gradient_distance` and T in the transition alone. The weights are inside
    of the totals: the terms add up to the loss.

    The siblings' outputs have their own losses, known by `auxiliary` (PP-MattingV2) and
    `coarse_alpha` (PP-HumanMatting); these have one form, "released".

    Args:
      outputs: of `Model`.
      batch: `alpha`, `trimap`, `mask`; but for the siblings `foreground` and `background` too.
      form: w is 0.25 as "released", 1 in the "paper"; everything else is as released.
    """
    if form not in FORMS:
        raise UserError(f"ppmatting: objective.form={form!r} must be one of {', '.join(FORMS)}")
    sibling = {"auxiliary": _matting_v2, "coarse_alpha": _human_matting}
    terms = next((sibling[name] for name in sibling if name in outputs), None)
    if terms is not None and form != "released":
        raise UserError(f"ppmatting: objective.form={form!r} is of HRNet's networks alone")
    mask, replicas = batch.get("mask"), batch.get("replicas", 1)
    known = Known(mask, batch["alpha"].shape, replicas)
    outputs = {name: known.rows(value) for name, value in outputs.items()}
    planes: Outputs = {name: known.rows(batch[name]) for name in _PLANES if name in batch}
    if terms is not None:
        return terms(outputs, planes, known)
    weight = FORMS[form]
    return {
        name: (weight * total, count)
        for name, (total, count) in _three_parts(outputs, planes, known).items()
    }


class Known:
    """Which rows of a batch are examples, and how much of a picture counts."""

    def __init__(self, mask: jax.Array | None, shape: tuple[int, ...], replicas: int = 1):
        self._mask = jnp.ones(shape[0], bool) if mask is None else mask.astype(bool)
        self._epsilon = _EPSILON / replicas  # the pair is summed over so many programs

    def rows(self, values: jax.Array) -> jax.Array:
        """Float32 with padded rows 0, gradients included, even if they hold NaN."""
        return losses.rows_of(self._mask, values)[0]

    def mean(self, values: jax.Array) -> Pair:
        """Of [B, H, W, C] over the examples' pixels and channels."""
        values = values.mean(-1, keepdims=True)
        return jnp.sum(self.rows(values)), jnp.sum(self.rows(jnp.ones_like(values)))

    def within(self, values: jax.Array, region: jax.Array) -> Pair:
        """The sum of [B, H, W, 1] by the pixels of a region, which may have none."""
        return jnp.sum(self.rows(values)), jnp.sum(self.rows(region)) + self._epsilon


def root_distance(
    prediction: jax.Array, truth: jax.Array, known: Known, region: jax.Array | None = None
) -> Pair:
    """Mean of sqrt(d^2 + 1e-6), which is 1e-3 where both are equal ("MRSD").

    Args:
      prediction: [B, H, W, C].
      truth: [B, H, W, C].
      known: which rows count.
      region: ones and zeros [B, H, W, 1]; None is the whole picture.
    """
    distance = jnp.sqrt(jnp.square(prediction - truth) + _EPSILON)
    if region is None:
        return known.mean(distance)
    return known.within(distance * region, region)


def gradient_distance(
    prediction: jax.Array, truth: jax.Array, known: Known, region: jax.Array | None = None
) -> Pair:
    """Mean difference of the lengths of the Sobel gradients of two mattes [B, H, W, 1].

    Outside of the region both are 0 before, so that its edge is an edge in both.
    """
    if region is not None:
        prediction, truth = prediction * region, truth * region
    difference = losses.absolute(_slope(prediction) - _slope(truth))
    return known.mean(difference) if region is None else known.within(difference, region)


def _slope(matte: jax.Array) -> jax.Array:
    """Length of the Sobel gradient, whose kernels' absolute entries sum to 1; edges repeated."""
    padded = jnp.pad(matte, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")

    def smoothed(values: jax.Array, axis: int) -> jax.Array:
        size = values.shape[axis] - 2
        parts = [jax.lax.slice_in_dim(values, i, i + size, axis=axis) for i in range(3)]
        return (parts[0] + 2 * parts[1] + parts[2]) / 8

    across = smoothed(padded[:, :, 2:] - padded[:, :, :-2], axis=1)
    down = smoothed(padded[:, 2:] - padded[:, :-2], axis=2)
    return jnp.sqrt(jnp.square(across) + jnp.square(down) + _EPSILON)


def _three_parts(outputs: Outputs, batch: Outputs, known: Known) -> Objective:
    """PP-Matting's terms, unweighted."""
    alpha, detail, fused = batch["alpha"], outputs["detail"], outputs["alpha"]
    region = transition(batch["trimap"])
    # As the network sees colours.
    front, behind = 2 * batch["foreground"] - 1, 2 * batch["background"] - 1

    def composed(matte: jax.Array) -> jax.Array:
        return matte * front + (1 - matte) * behind

    return {
        "semantic": _class_loss(outputs["semantic"], batch["trimap"], known),
        "detail_alpha": root_distance(detail, alpha, known, region),
        "detail_gradient": gradient_distance(detail, alpha, known, region),
        "fusion_alpha": root_distance(fused, alpha, known),
        # Colours are distorted each by itself: the picture is no composite of them any more.
        "fusion_composition": root_distance(composed(fused), composed(alpha), known),
        "fusion_gradient": gradient_distance(fused, alpha, known),
    }


def _class_loss(semantic: jax.Array, trimap: jax.Array, known: Known) -> Pair:
    """Cross entropy of probabilities [B, H, W, 3], as released: -log(p + 1e-6)."""
    known_class = jnp.where(trimap >= 1, FOREGROUND, BACKGROUND)
    chosen = jnp.where(transition(trimap) > 0, TRANSITION, known_class)
    likely = jnp.take_along_axis(semantic, chosen, axis=-1)
    return known.mean(-jnp.log(likely + _EPSILON))


def _matting_v2(outputs: Outputs, batch: Outputs, known: Known) -> Objective:
    """PP-MattingV2: the matte, twice more its transition, and the matte of the level at 1/8."""
    alpha, found, auxiliary = batch["alpha"], outputs["alpha"], outputs["auxiliary"]
    region, small = transition(batch["trimap"]), average_pool(alpha, 8)
    terms: Objective = {}
    for name, distance in (("alpha", root_distance), ("gradient", gradient_distance)):
        total, weight = distance(found, alpha, known, region)
        terms[name] = distance(found, alpha, known)
        terms[f"{name}_transition"] = (2 * total, weight)
        terms[f"auxiliary_{name}"] = distance(auxiliary, small, known)
    return terms


def _human_matting(outputs: Outputs, batch: Outputs, known: Known) -> Objective:
    """PP-HumanMatting: three parts at a quarter of the size, the error map, the refined matte."""
    alpha = batch["alpha"]
    trimap, small = batch["trimap"][:, ::SCALE, ::SCALE], downsample(alpha, SCALE)
    parts = {
        "semantic": _class_loss(outputs["semantic"], trimap, known),
        "detail": root_distance(outputs["detail"], small, known, transition(trimap)),
        "fusion": root_distance(outputs["coarse_alpha"], small, known),
    }
    terms = {name: (0.25 * total, weight) for name, (total, weight) in parts.items()}
    # As released, the error map's truth lets gradients through.
    error = jnp.abs(upsample(outputs["coarse_alpha"], SCALE) - alpha)
    terms["error"] = known.mean(jnp.square(upsample(outputs["error"], SCALE) - error))
    terms["refined"] = known.mean(jnp.abs(outputs["alpha"] - alpha))
    return terms
