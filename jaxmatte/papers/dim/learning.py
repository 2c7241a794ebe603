"""What Deep Image Matting minimises, stage by stage, over the unknown pixels."""

import jax
import jax.numpy as jnp

from jaxmatte import losses
from jaxmatte.errors import UserError
from jaxmatte.losses import Pair
from jaxmatte.papers.contract import Batch, Objective, Outputs

FORMS = ("mmagic", "hct", "foamliu")
STAGES = (0, 1, 2, 3)

_EPSILON = 1e-6


def objective(outputs: Outputs, batch: Batch, *, form: str = "mmagic", stage: int = 1) -> Objective:
    """What a stage minimises; the weights are inside of the totals: the terms add up to the loss.

    Both losses (section 3.2) are distances sqrt(d^2 + 1e-12), averaged over the pixels that the
    trimap does not know: of alpha, and of the colours that it composes.

    Args:
      outputs: of `Model`: `coarse_alpha` and, from stage 2 on, `alpha`, the refined one.
      batch: `alpha`, `trimap` and `mask`; in the stages 1 and 3 also `image`, `foreground` and
        `background`.
      form: whose constants: "mmagic", which is the paper's; "hct", which adds 1 to the number of
        pixels; "foamliu", which knows the first loss only and has each known pixel add 1e-6 to it.
      stage: 1, encoder and decoder: both losses by halves; 2, the refinement: its alpha alone; 3,
        everything: both sums; 0, a simple beginning of the ports', and all that "foamliu" does:
        the first loss alone, of the first part's alpha.
    """
    if form not in FORMS:
        raise UserError(f"dim: objective.form={form!r} must be one of {', '.join(FORMS)}")
    if stage not in STAGES:
        raise UserError(f"dim: objective.stage={stage!r} must be 0, 1, 2 or 3")
    if form == "foamliu":
        if stage >= 2:
            raise UserError(f"dim: objective.stage={stage} of form='foamliu': it has no refinement")
        stage = 0
    terms: Objective = {}
    if stage != 2:
        total, weight = _alpha(outputs["coarse_alpha"], batch, form)
        terms["alpha"] = ((1.0 if stage == 0 else 0.5) * total, weight)
    if stage in (1, 3):
        total, weight = _composition(outputs["coarse_alpha"], batch, form)
        terms["composition"] = (0.5 * total, weight)
    if stage >= 2:
        terms["refined"] = _alpha(outputs["alpha"], batch, form)
    return terms


def _unknown(batch: Batch) -> jax.Array:
    return (batch["trimap"] == 0.5).astype(jnp.float32)


def _alpha(matte: jax.Array, batch: Batch, form: str) -> Pair:
    """Alpha prediction loss: total and weight."""
    mask, unknown = batch.get("mask"), _unknown(batch)
    total, pixels = losses.alpha_loss(matte, batch["alpha"], unknown, mask=mask)
    if form == "foamliu":
        # The difference is masked before the root, which leaves 1e-6 of every known pixel.
        (known,) = losses.rows_of(mask, 1.0 - unknown)
        total += _EPSILON * known.sum()
    return total, pixels + _added(form) / batch.get("replicas", 1)


def _composition(matte: jax.Array, batch: Batch, form: str) -> Pair:
    """Composition loss: total and weight; a mean over the three colours."""
    colours = (batch["foreground"], batch["background"], batch["image"])
    mask, unknown = batch.get("mask"), _unknown(batch)
    if form == "hct":  # its root is taken of colours in 0..255
        total, pixels = losses.composition_loss(
            matte, *colours, unknown, mask=mask, form="released"
        )
        total = total / 3.0
    else:
        total, pixels = losses.composition_loss(matte, *colours, unknown, mask=mask)
    return total, pixels + _added(form) / batch.get("replicas", 1)


def _added(form: str) -> float:
    """What a form adds to the number of unknown pixels (mmagic's 1e-12 is nothing in float32)."""
    return {"mmagic": 0.0, "hct": 1.0, "foamliu": _EPSILON}[form]
