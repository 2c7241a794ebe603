"""What MODNet minimises: with mattes (equations 1 to 3 and their two released forms)."""

import jax
import jax.numpy as jnp

from jaxmatte import losses
from jaxmatte.errors import UserError
from jaxmatte.losses import absolute
from jaxmatte.papers.contract import Batch, Objective, Outputs
from jaxmatte.papers.modnet import adaptation
from jaxmatte.papers.modnet.common import coarse, mean, rows

FORMS = {"supervised": ("released", "paper", "paddleseg"), "soc": adaptation.FORMS}
DISTANCES = ("l1", "root")


def objective(
    outputs: Outputs,
    batch: Batch,
    *,
    task: str = "supervised",
    form: str = "released",
    distance: str = "l1",
) -> Objective:
    """What MODNet minimises; the weights are inside of the totals: the terms add up to the loss.

    Args:
      outputs: of `Model`.
      batch: `image` and `mask`; of the task "supervised" also `alpha`, `trimap` and, in the form
        "paper", `foreground` and `background`; of "soc" `teacher`.
      task: "supervised", with mattes, or "soc", self-supervised adaptation without any.
      form: as "released", as in the "paper", or (supervised) as "paddleseg" trains.
      distance: form "paper", supervised: of the composition, "l1" or "root", sqrt(x^2 + 1e-12).
    """
    for name, value, known in (
        ("task", task, FORMS),
        ("form", form, FORMS.get(task, ())),
        ("distance", distance, DISTANCES),
    ):
        if value not in known:
            of_task = f" of task={task!r}" if name == "form" else ""
            raise UserError(
                f"modnet: objective.{name}={value!r}{of_task} must be one of {', '.join(known)}"
            )
    mask = batch.get("mask")
    predicted = rows(mask, outputs, ("alpha", "semantic", "detail"))
    if task == "soc":
        if "teacher" not in batch:
            raise UserError(
                "modnet: task=soc compares with a frozen copy: train.teacher says how often it is "
                "taken anew, such as '1 epochs'"
            )
        teacher = rows(mask, batch["teacher"], ("alpha", "detail"))
        return adaptation.terms(form, predicted, teacher, mask)
    given = rows(mask, batch, ("image", "alpha", "trimap"))
    if form == "paper":
        layers = rows(mask, batch, ("foreground", "background"))
        return _paper(predicted, given | layers, mask, distance)
    return (_released if form == "released" else _paddleseg)(predicted, given, mask)


def _released(predicted: Outputs, given: Outputs, mask: jax.Array | None) -> Objective:
    """The published training function's.

    In what the trimap knows the boundary term compares with the trimap itself: a matte between 0.9
    and 1 there costs something whatever is predicted. Details are averaged over the whole picture,
    and the composition is of a picture in -1..1, without foreground and background.
    """
    alpha, trimap = given["alpha"], given["trimap"]
    unknown = trimap == 0.5
    boundary = jnp.where(unknown, predicted["alpha"], trimap)
    detail = absolute(jnp.where(unknown, predicted["detail"] - alpha, 0.0))
    semantic = jnp.square(predicted["semantic"] - coarse(alpha))
    return {
        "semantic": mean(10.0 * semantic, mask),
        "detail": mean(10.0 * detail, mask),
        "matte": mean(_matte(predicted["alpha"], boundary, given), mask),
    }


def _matte(matte: jax.Array, boundary: jax.Array, given: Outputs) -> jax.Array:
    """L1 of matte and composition, and of the boundary four times: [B, H, W, 1]."""
    difference = absolute(matte - given["alpha"]) + 4.0 * absolute(boundary - given["alpha"])
    # |I a - I alpha|, averaged over the colours, is |a - alpha| times this.
    return difference * (1.0 + jnp.abs(2.0 * given["image"] - 1.0).mean(-1, keepdims=True))


def _paper(predicted: Outputs, given: Outputs, mask: jax.Array | None, distance: str) -> Objective:
    """Equations 1 to 3, with the text's weights: 1, 10 and 1."""
    alpha, matte = given["alpha"], predicted["alpha"]
    band = (given["trimap"] == 0.5).astype(jnp.float32)
    layers = (given["foreground"], given["background"], given["image"])
    if distance == "root":
        composition = losses.composition_loss(matte, *layers, mask=mask)
    else:
        foreground, background, image = layers
        mixed = matte * foreground + (1.0 - matte) * background
        composition = mean(absolute(mixed - image), mask)
    return {
        "semantic": mean(0.5 * jnp.square(predicted["semantic"] - coarse(alpha)), mask),
        "detail": mean(10.0 * band * absolute(predicted["detail"] - alpha), mask),
        "matte": mean(absolute(matte - alpha), mask),
        "composition": composition,
    }


def _paddleseg(predicted: Outputs, given: Outputs, mask: jax.Array | None) -> Objective:
    """PaddleSeg's: details by the size of the unknown region, and no floor in the known one.

    Outside of the transition the coarse matte and the fused one must also agree.
    """
    alpha, trimap, matte = given["alpha"], given["trimap"], predicted["alpha"]
    unknown = trimap == 0.5
    boundary = jnp.where(unknown, matte, alpha)
    region = unknown.astype(jnp.float32)
    total, pixels = mean(10.0 * region * absolute(predicted["detail"] - alpha), mask)
    share, _ = mean(region, mask)
    semantic = predicted["semantic"]
    known = trimap[:, ::16, ::16] != 0.5
    disagreement = jnp.where(known, jnp.square(coarse(matte) - semantic), 0.0)
    return {
        "semantic": mean(jnp.square(semantic - coarse(alpha)), mask),
        "detail": (total, share + 1e-6 * pixels),
        "matte": mean(_matte(matte, boundary, given), mask),
        "consistency": mean(disagreement, mask),
    }
