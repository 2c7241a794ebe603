"""Guided contextual attention: places take the features of places whose pictures look alike.

Sources and places are the same: the patches of a map at an eighth of the picture's size, one
around every second pixel each way: n = h w of them for a map of 2 h x 2 w pixels. What is compared
are 3 x 3 patches of the guidance, of which every second pixel is kept; what is handed over are
4 x 4 patches of the features, which overlap.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn.initializers import variance_scaling

from jaxmatte.layers import BatchNorm, Conv, Dtype

# Glorot & Bengio 2010.
xavier_uniform = variance_scaling(1.0, "fan_avg", "uniform")

_SHORTEST = 1e-4  # what a patch is divided by at least
_EXCLUDED = 1e4  # what is taken from the score of an unknown patch with itself


class Sources(NamedTuple):
    """What the trimap says of each source: its scores' factor, and whether it is unknown."""

    scale: jax.Array  # [B, n]
    unknown: jax.Array  # [B, n] bool


class GuidedContextualAttention(nn.Module):
    """The block, in the encoder and in the decoder.

    Attributes:
      chunk: how many places are filled at a time, each from all sources; 0: all of them. It
        bounds the memory, which the scores of all n x n pairs would fill (1 GiB for a picture of
        2048 x 2048), and changes nothing of the result.
    """

    chunk: int = 0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(
        self, guidance: jax.Array, x: jax.Array, unknown: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Hands features over.

        Args:
          guidance: low-level features of the picture [B, 2 h, 2 w, G].
          x: features [B, 2 h, 2 w, C].
          unknown: where the trimap is unknown [B, h, w], bool.
          train: whether batch statistics are used and updated.

        Returns:
          Features [B, 2 h, 2 w, C]; and from where each place takes most [B, h, w, 2], row and
          column less half of h and of w.
        """
        batch, height, width, channels = x.shape
        compared = Conv(
            guidance.shape[-1] // 2,
            1,
            kernel_init=xavier_uniform,
            bias_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="guidance",
        )(guidance[:, ::2, ::2])
        queries = patches_3(compared).astype(self.dtype)
        handed, best = attend(queries, sources(unknown), patches_4(x), self.chunk)
        mixed = folded(handed.reshape(batch, height // 2, width // 2, 2, 2, 2, 2, channels))
        out = Conv(
            channels,
            1,
            use_bias=False,
            kernel_init=xavier_uniform,
            dtype=self.dtype,
            name="out_conv",
        )(mixed)
        # So small a scale starts the block as an identity.
        small = nn.initializers.constant(1e-3)
        norm = BatchNorm(
            axis_name=self.bn_axis, dtype=self.dtype, scale_init=small, name="out_norm"
        )
        rows, columns = height // 2, width // 2
        places = jnp.stack([best // columns - rows // 2, best % columns - columns // 2], axis=-1)
        return norm(out, train) + x, places.reshape(batch, rows, columns, 2)


def sources(unknown: jax.Array) -> Sources:
    """Factors by the share of the unknown, and which 3 x 3 patches have any: from [B, h, w] bool.

    With a share U of the picture unknown, unknown sources have sqrt(U / (1 - U)), known ones the
    inverse, both within 0.1 and 10.
    """
    share = unknown.astype(jnp.float32).mean((1, 2))
    # All against nothing: infinity against 0, brought back to 10 and 0.1.
    of_unknown = jnp.clip(jnp.sqrt(share / (1.0 - share)), 0.1, 10.0)
    of_known = jnp.clip(jnp.sqrt((1.0 - share) / share), 0.1, 10.0)
    any_unknown = patches_3(unknown[..., None]).any(-1)
    scale = jnp.where(any_unknown, of_unknown[:, None], of_known[:, None])
    return Sources(scale, any_unknown)


def patches_3(x: jax.Array) -> jax.Array:
    """3 x 3 patches around every pixel, borders reflected: [B, h, w, C] -> [B, h w, 9 C]."""
    batch, height, width, channels = x.shape
    padded = _reflected(x)
    taps = [padded[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
    return jnp.stack(taps, axis=3).reshape(batch, height * width, 9 * channels)


def patches_4(x: jax.Array) -> jax.Array:
    """4 x 4 patches in steps of 2, borders reflected: [B, 2 h, 2 w, C] -> [B, h w, 16 C].

    A patch is ordered as 2 x 2 blocks of 2 x 2 pixels: block row, row in it, block column, column
    in it, channel.
    """
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    blocks = _reflected(x).reshape(batch, rows + 1, 2, columns + 1, 2, channels)
    parts = [
        [blocks[:, i : i + rows, :, j : j + columns].transpose(0, 1, 3, 2, 4, 5) for j in (0, 1)]
        for i in (0, 1)
    ]
    # [B, h, w, row in block, column in block, C] -> ... block row, row, block column, column, C
    whole = jnp.stack([jnp.stack(pair, axis=4) for pair in parts], axis=3)
    return whole.reshape(batch, rows * columns, 16 * channels)


def folded(patches: jax.Array) -> jax.Array:
    """A quarter of the sum of 4 x 4 patches laid in steps of 2, without its border of 1 pixel.

    Inside, a pixel is the mean of the four patches that cover it; at the border fewer do.

    Args:
      patches: [B, h, w, 2, 2, 2, 2, C], ordered as in `patches_4`.

    Returns:
      [B, 2 h, 2 w, C].
    """
    batch, height, width, channels = (*patches.shape[:3], patches.shape[-1])
    parts = []
    for i, j in np.ndindex(2, 2):
        edges = [(0, 0), (i, 1 - i), (j, 1 - j), (0, 0), (0, 0), (0, 0)]
        parts.append(jnp.pad(patches[:, :, :, i, :, j], edges))
    canvas = sum(parts[1:], start=parts[0]).transpose(0, 1, 3, 2, 4, 5)
    canvas = canvas.reshape(batch, 2 * height + 2, 2 * width + 2, channels)
    return 0.25 * canvas[:, 1:-1, 1:-1]


def attend(
    queries: jax.Array, about: Sources, values: jax.Array, chunk: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Every place as a mean of all sources, by a softmax of its scores with them.

    A score is the product of the place's patch and the source's, the latter of length 1, times the
    source's factor. An unknown source does not fill its own place.

    Args:
      queries: patches [B, n, D].
      about: of the sources.
      values: what sources hand over [B, n, E].
      chunk: how many places are filled at a time; their scores are not kept for the gradient but
        computed again. 0: all at once. The result is the same but for rounding.

    Returns:
      [B, n, E], and the best source of each place, [B, n].
    """
    count = queries.shape[1]
    squares = jnp.sum(jnp.square(queries.astype(jnp.float32)), axis=-1, keepdims=True)
    # The root's gradient is infinite at 0, which flat patches reach.
    lengths = jnp.sqrt(jnp.maximum(squares, _SHORTEST**2))
    keys = (queries * (about.scale[..., None] / lengths)).astype(queries.dtype)
    fill = partial(_filled, keys=keys, values=values, unknown=about.unknown)
    if not 0 < chunk < count:
        return fill(queries, jnp.arange(count))
    steps = -(-count // chunk)
    padded = jnp.pad(queries, ((0, 0), (0, steps * chunk - count), (0, 0)))
    parts = jnp.moveaxis(padded.reshape(len(queries), steps, chunk, -1), 1, 0)
    places = jnp.arange(steps * chunk).reshape(steps, chunk)
    step = jax.checkpoint(lambda part: fill(*part), prevent_cse=False)
    handed, best = lax.map(step, (parts, places))
    handed = jnp.moveaxis(handed, 0, 1).reshape(len(queries), steps * chunk, -1)
    best = jnp.moveaxis(best, 0, 1).reshape(len(queries), -1)
    return handed[:, :count], best[:, :count]


def _filled(
    queries: jax.Array,
    places: jax.Array,
    *,
    keys: jax.Array,
    values: jax.Array,
    unknown: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The places numbered `places` [p], of patches [B, p, D] -> [B, p, E] and [B, p]."""
    single = jnp.float32
    scores = jnp.einsum("bpd,bjd->bpj", queries, keys, preferred_element_type=single)
    numbers = jnp.arange(keys.shape[1])
    itself = (places[:, None] == numbers)[None] & unknown[:, None]
    scores = scores - jnp.where(itself, _EXCLUDED, 0.0)
    top = lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    handed = jnp.einsum(
        "bpj,bje->bpe", weights.astype(values.dtype), values, preferred_element_type=single
    )
    # The first of the best, as argmax has it, which XLA's compilers do not vectorise.
    best = jnp.where(scores == top, numbers, keys.shape[1]).min(-1)
    return (handed / total).astype(values.dtype), best


def _reflected(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
