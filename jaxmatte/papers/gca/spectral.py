"""Convolutions under spectral normalisation (Miyato et al. 2018), as published files keep it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer

from jaxmatte.convolution import convolve
from jaxmatte.layers import BatchNorm, Dtype, uniform_fan_in

_EPSILON = 1e-12  # of the norms that the vectors are divided by
_product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)


class SpectralConv(nn.Module):
    """A convolution without bias whose kernel is divided by sigma, its greatest singular value.

    The kernel is seen as a matrix W: a row for each output, or for each input of a transposed one.
    `batch_stats` holds two vectors, from which sigma = u . W v. In training they first take one
    step of the power iteration; else they are what they are: the true singular value is another
    one, and gives other outputs than a published file was trained for. Gradients flow through W
    in sigma too, not through u and v.

    Attributes:
      padding: "torch", zeros so that stride 1 keeps the size, or "valid", none.
      transposed: enlarges twice: PyTorch's ConvTranspose2d of kernel 4, stride 2, padding 1.
      kernel_init: None stands for PyTorch's default.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "torch"
    transposed: bool = False
    kernel_init: Initializer | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features], transposed [B, 2 H, 2 W, ...]."""
        size, inputs = self.kernel_size, x.shape[-1]
        fan_in = size * size * (self.features if self.transposed else inputs)
        kernel_init = self.kernel_init or uniform_fan_in(fan_in)
        kernel = self.param("kernel", kernel_init, (size, size, inputs, self.features))
        kernel = (kernel / self._sigma(kernel, train)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.transposed:
            return _enlarged(x, kernel)
        margin = (size - 1) // 2 if self.padding == "torch" else 0
        return convolve(x, kernel, stride=self.stride, padding=[(margin, margin)] * 2)

    def _sigma(self, kernel: jax.Array, train: bool) -> jax.Array:
        # Both sums over the kernel [h, w, i, o]; v is kept flat, in PyTorch's order.
        to_v, to_u = "hwio,o->ihw", "hwio,ihw->o"
        if self.transposed:
            to_v, to_u = "hwio,i->ohw", "hwio,ohw->i"
        height, width, inputs, outputs = kernel.shape
        rows, columns = (inputs, outputs) if self.transposed else (outputs, inputs)

        def iterate(u):
            fixed = lax.stop_gradient(kernel)
            v = _normalised(_product(to_v, fixed, u))
            return _normalised(_product(to_u, fixed, v)), v.reshape(-1)

        start: Any = None
        if not self.has_variable("batch_stats", "u"):
            # The first step is taken here: drawn vectors would give a sigma of any sign, and
            # evaluation before training nothing but noise.
            start = iterate(_normalised(jax.random.normal(self.make_rng("params"), (rows,))))
        kept_u = self.variable("batch_stats", "u", lambda: start[0])
        kept_v = self.variable("batch_stats", "v", lambda: start[1])
        if train:
            kept_u.value, kept_v.value = iterate(kept_u.value)
        v = kept_v.value.reshape(columns, height, width)
        return jnp.vdot(kept_u.value, _product(to_u, kernel, v), precision=lax.Precision.HIGHEST)


class SpectralLayer(nn.Module):
    """Spectral convolution, batch normalisation and an activation, which may come before it."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "torch"
    transposed: bool = False
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    activation_first: bool = False
    kernel_init: Initializer | None = None
    scale_init: Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', features], as `SpectralConv`."""
        conv = SpectralConv(
            self.features,
            self.kernel_size,
            self.stride,
            self.padding,
            self.transposed,
            self.kernel_init,
            self.dtype,
            name="conv",
        )
        norm = BatchNorm(
            axis_name=self.bn_axis, dtype=self.dtype, scale_init=self.scale_init, name="norm"
        )
        activation = self.activation or (lambda x: x)
        x = conv(x, train)
        return norm(activation(x), train) if self.activation_first else activation(norm(x, train))


def _normalised(vector: jax.Array) -> jax.Array:
    return vector / (jnp.sqrt(jnp.sum(jnp.square(vector))) + _EPSILON)


def _enlarged(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution by a kernel [4, 4, I, O]: [B, H, W, I] -> [B, 2 H, 2 W, O].

    Each output sees 2 x 2 inputs, by one of four kernels of that size, as its row and its column
    are even or odd. So it is one plain convolution with four times the outputs, where the usual
    form multiplies zeros that are put between the inputs.
    """
    inputs, outputs = kernel.shape[2:]
    # Tap 2 t + a of the reversed kernel is tap t of an even (a = 0) or odd (a = 1) output.
    taps = kernel[::-1, ::-1].reshape(2, 2, 2, 2, inputs, outputs).transpose(0, 2, 4, 1, 3, 5)
    windows = convolve(x, taps.reshape(2, 2, inputs, -1), padding=[(1, 1), (1, 1)])
    batch, height, width = x.shape[:3]
    windows = windows.reshape(*windows.shape[:3], 2, 2, outputs)
    rows = [
        jnp.stack([windows[:, a : a + height, b : b + width, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, outputs)
