"""What GFM learns from and what it minimises: RoSTa's labels, and the three losses."""

from typing import NamedTuple

import jax

from jaxmatte import losses
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import Batch, Objective, Outputs
from jaxmatte.papers.gfm.network import CLASSES


class Targets(NamedTuple):
    """What one RoSTa learns from: the glance branch's label, and the focus branch's alpha."""

    glance: jax.Array
    focus: jax.Array


def rosta_targets(rosta: str, batch: Batch, form: str = "paper") -> Targets:
    """RoSTa's labels, from what the loader made at full resolution.

    "paper": FT's glance learns the eroded foreground and BT's the dilated one, which is what the
    focus target and the fusion suppose. "released": the published training code of the single
    modes has FT learn the dilated foreground, and BT the alpha's own foreground.

    Args:
      rosta: "TT", "FT" or "BT".
      batch: `alpha` and `trimap`, with FT and BT also `dilation` and `erosion`, [B, H, W, 1].
      form: "paper" or "released".
    """
    alpha = batch["alpha"]
    if rosta == "TT":
        return Targets(batch["trimap"], alpha)
    if "dilation" not in batch or "erosion" not in batch:
        raise UserError(
            f"gfm: {rosta} learns from dilation and erosion; set data.labels.bands=True"
        )
    dilation, erosion = batch["dilation"], batch["erosion"]
    if rosta == "FT":
        return Targets(erosion if form == "paper" else dilation, alpha - erosion)
    return Targets(dilation if form == "paper" else alpha, dilation - alpha)


def objective(
    outputs: Outputs,
    batch: Batch,
    *,
    rosta: str,
    form: str = "released",
    targets: str = "paper",
) -> Objective:
    """What GFM minimises: glance, focus, collaborative matting.

    L = 1/4 CE + 1/4 (L_alpha^T + L_lap^T) of the focus, 1/4 (L_alpha + L_lap) and 1/4 L_comp of the
    fused matte. RIM sums the same over its three modes and adds the last three of its own output,
    with every weight 1. The weights are inside of the totals: the terms add up to the loss.

    Args:
      outputs: of `Model`.
      batch: `image`, `alpha`, `trimap`, `foreground`, `background`, `mask`, and what
        `rosta_targets` needs.
      rosta: of the model.
      form: the losses as "released", which the published weights saw, or "plain", well-behaved.
      targets: the glance targets of FT and BT, "paper" or "released".
    """
    if targets not in ("paper", "released"):
        raise UserError(f"gfm: objective.targets={targets!r} must be one of paper, released")
    if rosta != "RIM":
        branches = _branch_terms(rosta, outputs, "", outputs["alpha"], batch, form, targets)
        return {name: (0.25 * total, weight) for name, (total, weight) in branches.items()}
    terms = _fusion_terms("_rim", outputs["rim"], batch, form)
    for mode in CLASSES:
        # The released code trains BT on FT's prediction here: its index is off by one.
        read = "ft" if targets == "released" and mode == "BT" else mode.lower()
        parts = {name: outputs[f"{name}_{read}"] for name in ("glance", "focus", "glance_logits")}
        fused, suffix = outputs[f"fusion_{read}"], f"_{mode.lower()}"
        # Its labels, though, are the paper's in this branch.
        terms |= _branch_terms(mode, parts, suffix, fused, batch, form, "paper")
    return terms


def _branch_terms(
    rosta: str,
    outputs: Outputs,
    suffix: str,
    fused: jax.Array,
    batch: Batch,
    form: str,
    form_of_targets: str,
) -> Objective:
    """The terms of one RoSTa, unweighted."""
    mask, replicas = batch.get("mask"), batch.get("replicas", 1)
    label, target = rosta_targets(rosta, batch, form_of_targets)
    classes = losses.glance_target(label, CLASSES[rosta], form)
    # As published, the cross entropy takes the sigmoids for logits.
    scores = outputs["glance" if form == "released" else "glance_logits"]
    # Every RoSTa's focus is judged in the trimap's transition, not in its own wider band.
    region = losses.transition(batch["trimap"], form)
    focus = outputs["focus"]
    return {
        f"glance{suffix}": losses.cross_entropy(scores, classes, mask=mask),
        f"focus_alpha{suffix}": losses.alpha_loss(
            focus, target, region, mask=mask, form=form, replicas=replicas
        ),
        f"focus_laplacian{suffix}": losses.laplacian_loss(
            focus, target, region, mask=mask, form=form
        ),
        **_fusion_terms(suffix, fused, batch, form),
    }


def _fusion_terms(suffix: str, fused: jax.Array, batch: Batch, form: str) -> Objective:
    """The terms of a fused matte, unweighted."""
    mask, alpha = batch.get("mask"), batch["alpha"]
    layers = (batch["foreground"], batch["background"], batch["image"])
    return {
        f"alpha{suffix}": losses.alpha_loss(fused, alpha, mask=mask, form=form),
        f"laplacian{suffix}": losses.laplacian_loss(fused, alpha, mask=mask, form=form),
        f"composition{suffix}": losses.composition_loss(fused, *layers, mask=mask, form=form),
    }
