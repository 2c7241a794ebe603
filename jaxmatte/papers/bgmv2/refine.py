"""BGMv2's refiner: full resolution for the 4 x 4 patches of a picture that need it most."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxmatte.layers import BatchNorm, Conv, Dtype, upsample_nearest
from jaxmatte.papers.bgmv2.common import fit

MODES = ("full", "sampling", "thresholding")
CELL = 4  # side of the patches that are chosen


class Coarse(NamedTuple):
    """What the base network says, at the size it saw."""

    alpha: jax.Array  # [B, h, w, 1] in 0..1
    residual: jax.Array  # [B, h, w, 3], foreground less image, as it comes
    error: jax.Array  # [B, h, w, 1] in 0..1
    hidden: jax.Array  # [B, h, w, C], not negative


class Cells(NamedTuple):
    """Chosen cells, of each picture the same number."""

    rows: jax.Array  # [B, k]
    columns: jax.Array  # [B, k]
    counted: jax.Array  # [B, k] bool: whether the cell is refined, or only fills up the number


class CountedNorm(nn.Module):
    """A `BatchNorm` in training whose positions count several times, or not at all.

    Patches overlap: a position counts as often as there are chosen patches that hold it. So the
    statistics are those of the patches alone, cut out or not.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, counts: jax.Array) -> jax.Array:
        """[B, H, W, C], times that it counts [B, H, W, 1] or of such a shape -> [B, H, W, C]."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        values = x.astype(jnp.float32)
        counts = jnp.broadcast_to(counts.astype(jnp.float32), (*x.shape[:-1], 1))
        axis = None if self.is_initializing() else self.axis_name

        def total(samples: jax.Array) -> jax.Array:
            local = samples.sum((0, 1, 2))
            return local if axis is None else lax.psum(local, axis)

        count = total(counts)
        mean = total(counts * values) / jnp.maximum(count, 1)
        var = total(counts * jnp.square(values - mean)) / jnp.maximum(count, 1)
        if not self.is_initializing():
            # Where no patch was chosen there is nothing to remember.
            step = jnp.where(count > 1, 1 - self.momentum, 0.0)
            unbiased = var * (count / jnp.maximum(count - 1, 1))
            running_mean.value += step * (mean - running_mean.value)
            running_var.value += step * (unbiased - running_var.value)
        y = (values - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias
        return y.astype(self.dtype)


class Layer(nn.Module):
    """Convolution without padding, normalisation, ReLU."""

    features: int
    kernel: int
    dtype: Dtype
    bn_axis: str | None

    @nn.compact
    def __call__(self, x: jax.Array, counts: jax.Array | None, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H - kernel + 1, W - kernel + 1, features].

        Args:
          x: the map.
          counts: in training, how often each position of the result counts; None: once.
          train: whether batch statistics are used and updated.
        """
        conv = Conv(
            self.features,
            self.kernel,
            use_bias=False,
            dtype=self.dtype,
            padding="valid",
            name="conv",
        )
        x = conv(x)
        if train and counts is not None:
            return nn.relu(CountedNorm(self.bn_axis, self.dtype, name="norm")(x, counts))
        norm = BatchNorm(axis_name=self.bn_axis, dtype=self.dtype, name="norm")
        return nn.relu(norm(x, train))


class Refiner(nn.Module):
    """Four convolutions: two at half resolution, two at the full one.

    Of a cell of 4 x 4 pixels they need 8 x 8 around it at either resolution. Shapes never depend on
    what is chosen: "sampling" cuts out as many patches as it may refine, or as the rest computes
    everything and takes what was chosen.
    """

    mode: str
    sample_pixels: int
    threshold: float
    kernel: int
    prevent_oversampling: bool
    gather: bool
    dtype: Dtype
    bn_axis: str | None

    @nn.compact
    def __call__(
        self, picture: jax.Array, coarse: Coarse, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Refines what the base network says.

        Args:
          picture: image and plate, [B, H, W, 6].
          coarse: of both, shrunken.
          train: whether batch statistics are used and updated.

        Returns:
          Alpha [B, H, W, 1] and residual [B, H, W, 3], neither of them clamped, and [B, H / 4,
          W / 4, 1]: 1 where a cell was refined.
        """
        height, width = picture.shape[1:3]
        halves, cells = (height // 2, width // 2), (height // CELL, width // CELL)
        known = jnp.concatenate([coarse.hidden, coarse.alpha, coarse.residual], axis=-1)
        low = (fit(known, halves), fit(picture, halves))
        if self.mode == "full":
            found = self._refined(_padded(low, self._low), _padded((picture,), self._high), train)
            return found[..., :1], found[..., 1:], jnp.ones((picture.shape[0], *cells, 1))

        error = fit(coarse.error, cells)
        if self.mode == "thresholding":
            chosen, refined = None, (error > self.threshold).astype(jnp.float32)
        else:
            chosen = self._chosen(error[..., 0])
            refined = _marked(chosen, cells)
        smooth = fit(known[..., -4:], (height, width))
        if chosen is not None and self.gather:
            found = self._patches(low, picture, smooth, chosen, train)
        else:
            counts = self._counts(refined) if train else None
            pads = (_padded(low, self._low), _padded((picture,), self._high))
            everything = self._refined(*pads, train, counts)
            found = jnp.where(upsample_nearest(refined, CELL) > 0, everything, smooth)
        return found[..., :1], found[..., 1:], refined

    @property
    def _low(self) -> int:
        """Pixels at half resolution that a cell's neighbourhood has on each side."""
        return 3 * (self.kernel - 1) // 2

    @property
    def _high(self) -> int:
        return self.kernel - 1

    def _refined(
        self,
        low: jax.Array,
        high: jax.Array,
        train: bool,
        counts: tuple[jax.Array, ...] | None = None,
    ) -> jax.Array:
        """The convolutions, of padded maps or of patches.

        Args:
          low: hidden maps, alpha, residual, image and plate at half resolution.
          high: image and plate.
          train: whether batch statistics are used and updated.
          counts: of the three layers, as `Layer` has it.

        Returns:
          Alpha and residual [B, H, W, 4], float32.
        """
        layers = [
            Layer(n, self.kernel, self.dtype, self.bn_axis, name=f"layer{i}")
            for i, n in enumerate((24, 16, 12), start=1)
        ]
        of = counts or (None, None, None)
        x = layers[1](layers[0](low.astype(self.dtype), of[0], train), of[1], train)
        x = jnp.concatenate([upsample_nearest(x, 2), high.astype(self.dtype)], axis=-1)
        x = layers[2](x, of[2], train)
        last = Conv(4, self.kernel, dtype=self.dtype, padding="valid", name="layer4")
        return last(x).astype(jnp.float32)

    def _chosen(self, error: jax.Array) -> Cells:
        """The cells of each picture with the largest error [B, h, w]; of equal ones the first."""
        height, width = error.shape[1:]
        count = min(self.sample_pixels // CELL**2, height * width)
        largest, index = lax.top_k(error.reshape(len(error), -1), count)
        counted = largest > 0 if self.prevent_oversampling else jnp.ones_like(largest, bool)
        return Cells(index // width, index % width, counted)

    def _counts(self, refined: jax.Array) -> tuple[jax.Array, ...]:
        """How many chosen patches hold each position of the three layers' maps."""
        half = CELL // 2
        reach = self.kernel - 1
        sides = ((half + 2 * reach, half), (half + reach, half), (CELL + reach, CELL))
        return tuple(_coverage(refined, side, stride) for side, stride in sides)

    def _patches(
        self,
        low: tuple[jax.Array, ...],
        picture: jax.Array,
        smooth: jax.Array,
        chosen: Cells,
        train: bool,
    ) -> jax.Array:
        """`smooth` [B, H, W, 4] with the chosen cells refined, which alone are computed."""
        half = CELL // 2
        fine = cut(_padded((picture,), self._high), chosen, CELL + 2 * self._high, CELL)
        around = cut(_padded(low, self._low), chosen, half + 2 * self._low, half)
        counted = chosen.counted.reshape(-1, 1, 1, 1)
        found = self._refined(around, fine, train, (counted,) * 3)
        return paste(smooth, found.reshape(*chosen.rows.shape, CELL, CELL, 4), chosen)


def _padded(maps: tuple[jax.Array, ...], margin: int) -> jax.Array:
    """The maps beside each other, with zeros around them."""
    edges = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return jnp.pad(jnp.concatenate(maps, axis=-1), edges)


def _marked(chosen: Cells, cells: tuple[int, int]) -> jax.Array:
    """[B, h, w, 1]: 1 where a cell counts."""
    marks = jnp.zeros((len(chosen.rows), *cells))
    batch = jnp.arange(len(chosen.rows))[:, None]
    marks = marks.at[batch, chosen.rows, chosen.columns].set(chosen.counted.astype(jnp.float32))
    return marks[..., None]


def _coverage(refined: jax.Array, side: int, stride: int) -> jax.Array:
    """How many squares of `side`, one at each chosen cell times `stride`, hold a position."""
    return lax.conv_general_dilated(
        refined,
        jnp.ones((side, side, 1, 1)),
        window_strides=(1, 1),
        padding=[(side - 1, side - 1)] * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def cut(maps: jax.Array, chosen: Cells, side: int, stride: int) -> jax.Array:
    """Squares of `side` at the cells, `stride` apart: [B, H, W, C] -> [B * k, side, side, C]."""

    def one(plane: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        start = (stride * row, stride * column, jnp.zeros_like(row))
        return lax.dynamic_slice(plane, start, (side, side, plane.shape[-1]))

    patches = jax.vmap(jax.vmap(one, (None, 0, 0)))(maps, chosen.rows, chosen.columns)
    return patches.reshape(-1, side, side, maps.shape[-1])


def paste(maps: jax.Array, patches: jax.Array, chosen: Cells) -> jax.Array:
    """`maps` [B, H, W, C] with `patches` [B, k, 4, 4, C] in the place of the cells that count."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2, 3),
        inserted_window_dims=(),
        scatter_dims_to_operand_dims=(0, 1),
    )

    def one(plane: jax.Array, patches: jax.Array, chosen: Cells) -> jax.Array:
        # Those that only fill up lie below the picture, each elsewhere, and are dropped.
        beyond = plane.shape[0] + CELL * jnp.arange(len(chosen.rows))
        rows = jnp.where(chosen.counted, CELL * chosen.rows, beyond)
        places = jnp.stack([rows, CELL * chosen.columns], axis=-1)
        return lax.scatter(
            plane,
            places,
            patches,
            numbers,
            unique_indices=True,
            mode=lax.GatherScatterMode.FILL_OR_DROP,
        )

    return jax.vmap(one)(maps, patches, chosen)
