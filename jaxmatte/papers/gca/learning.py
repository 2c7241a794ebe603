"""What GCA-Matting minimises: L1 in the unknown band; and what its code can add to that."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmatte.errors import UserError
from jaxmatte.losses import absolute, rows_of
from jaxmatte.papers.contract import Batch, Objective, Outputs
from jaxmatte.papers.gca.network import normalised, trimap_classes

Distance = Callable[[jax.Array], jax.Array]

_SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)
REGIONS = ("unknown", "whole")


def objective(
    outputs: Outputs,
    batch: Batch,
    *,
    alpha: float = 1.0,
    squared: float = 0.0,
    charbonnier: float = 0.0,
    composition: float = 0.0,
    gradient: float = 0.0,
    gabor: float = 0.0,
    region: str = "unknown",
) -> Objective:
    """What GCA-Matting minimises; the weights are inside of the totals: terms add up to the loss.

    Sums over the whole batch are divided by its unknown pixels, so that a picture counts the more,
    the more of it is unknown.

    Args:
      outputs: of `Model`.
      batch: `alpha`, `trimap` and `mask`; for the composition also `image`, `foreground` and
        `background`.
      alpha: weight of the L1 distance to the true matte, the published loss.
      squared: of the squared distance.
      charbonnier: of sqrt(d^2 + 1e-6), which known pixels add a thousandth to.
      composition: of the L1 distance of the pictures, in the network's normalised colours.
      gradient: of the L1 distance of Sobel's gradient magnitudes.
      gabor: of the squared distance of the responses of 16 Gabor filters.
      region: "unknown", or "whole": all pixels count.
    """
    weights = {
        "alpha": alpha,
        "squared": squared,
        "charbonnier": charbonnier,
        "composition": composition,
        "gradient": gradient,
        "gabor": gabor,
    }
    if region not in REGIONS:
        raise UserError(f"gca: objective.region={region!r} must be one of {', '.join(REGIONS)}")
    if not any(weights.values()):
        raise UserError(f"gca: every weight of the objective is 0; there are {', '.join(weights)}")
    mask, trimap = batch.get("mask"), batch["trimap"]
    inside = trimap_classes(trimap) == 1 if region == "unknown" else jnp.ones_like(trimap)
    band, given, true = rows_of(mask, inside, outputs["alpha"], batch["alpha"])

    def total(name: str) -> jax.Array:
        if name == "charbonnier":
            return jnp.sum(rows_of(mask, _charbonnier((given - true) * band))[0])
        if name == "composition":
            layers = rows_of(mask, batch["image"], batch["foreground"], batch["background"])
            image, foreground, background = map(normalised, layers)
            return composition_total(given, image, foreground, background, band)
        measure, distance = _MEASURES[name]
        return jnp.sum(band * distance(measure(given) - measure(true)))

    replicas = batch.get("replicas", 1)
    size = band.sum() + 1e-8 / replicas
    return {name: (factor * total(name), size) for name, factor in weights.items() if factor}


def composition_total(
    alpha: jax.Array,
    image: jax.Array,
    foreground: jax.Array,
    background: jax.Array,
    band: jax.Array,
) -> jax.Array:
    """|a F + (1 - a) B - I|, summed over the band and the colours."""
    merged = alpha * foreground + (1.0 - alpha) * background
    return jnp.sum(band * absolute(merged - image))


def sobel(alpha: jax.Array) -> jax.Array:
    """Magnitude of Sobel's gradient, its kernels not normalised: [B, H, W, 1]."""
    slopes = _filtered(alpha, np.stack([_SOBEL, _SOBEL.T]))
    return jnp.sqrt(jnp.square(slopes).sum(-1, keepdims=True) + 1e-8)


def gabor_filters() -> np.ndarray:
    """The 16 filters [16, 5, 5] of OpenCV's getGaborKernel: sigma 0.5, an angle each pi / 8.

    Wavelength 5, aspect 0.5, and a phase of a quarter turn.
    """
    down, right = np.mgrid[2:-3:-1, 2:-3:-1].astype(np.float64)
    found = []
    for angle in np.arange(16) * np.pi / 8:
        across = right * np.cos(angle) + down * np.sin(angle)
        along = down * np.cos(angle) - right * np.sin(angle)
        bell = np.exp(-0.5 * (across**2 + (0.5 * along) ** 2) / 0.5**2)
        found.append(bell * np.cos(2 * np.pi * across / 5 + np.pi / 2))
    return np.stack(found).astype(np.float32)


def gabor_responses(alpha: jax.Array) -> jax.Array:
    """Responses of the Gabor filters: [B, H, W, 1] -> [B, H, W, 16]."""
    return _filtered(alpha, gabor_filters())


def _charbonnier(difference: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(difference) + 1e-6)


def _filtered(plane: jax.Array, filters: np.ndarray) -> jax.Array:
    """Correlation with filters [N, k, k], zeros around: [B, H, W, 1] -> [B, H, W, N]."""
    return lax.conv_general_dilated(
        plane,
        jnp.asarray(filters.transpose(1, 2, 0)[:, :, None]),
        window_strides=(1, 1),
        padding=[(filters.shape[1] // 2,) * 2] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


# Of what which distance is summed over the band.
_MEASURES: dict[str, tuple[Distance, Distance]] = {
    "alpha": (lambda matte: matte, absolute),
    "squared": (lambda matte: matte, jnp.square),
    "gradient": (sobel, absolute),
    "gabor": (gabor_responses, jnp.square),
}
