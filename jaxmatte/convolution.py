"""Convolutions, and the forms of them that are fast where XLA's own are not.

On the CPU, XLA runs two kinds many times slower than others of as much arithmetic: those by groups,
and those of a map without zeros around it. There the first are sums over taps, and the second get a
row of zeros that is cut off again (`benchmarks/results/2026-11-22-cpu-convolution.md`). The results
are the same but for rounding. Elsewhere nothing of that is changed.

Everywhere a kernel's outer taps are left out where they reach beyond the map whatever they are
centred on: those of a dilated kernel over a map that is smaller than its dilation.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Edges = Sequence[tuple[int, int]]


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str | Edges = "VALID",
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """[B, H, W, I], [h, w, I / groups, O] -> [B, H', W', O].

    Args:
      x: the map.
      kernel: the kernel; the outputs lie block after block of its groups.
      stride: of rows and columns.
      padding: "VALID", "SAME", or how many zeros before and after rows and columns.
      dilation: how far the kernel's taps are apart.
      groups: how many blocks of channels are convolved each by itself.
    """
    if isinstance(padding, str):
        reach = [dilation * (taps - 1) + 1 for taps in kernel.shape[:2]]
        padding = lax.padtype_to_pads(x.shape[1:3], reach, (stride, stride), padding)
    kernel, padding = _within(x, kernel, padding, stride, dilation)
    whole = partial(_xlas, stride=stride, edges=padding, dilation=dilation, groups=groups)
    if groups > 1:
        fast = partial(_by_taps, stride=stride, edges=padding, dilation=dilation, groups=groups)
    elif max(kernel.shape[:2]) > 1 and not np.any(padding):
        fast = partial(_with_a_row, stride=stride, dilation=dilation)
    else:
        return whole(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=fast, default=whole)


def _within(
    x: jax.Array, kernel: jax.Array, edges: Edges, stride: int, dilation: int
) -> tuple[jax.Array, Edges]:
    """The kernel's rows and columns that reach the map, and the zeros that they need around it."""
    kept, left = [], []
    for size, taps, (before, after) in zip(x.shape[1:3], kernel.shape, edges, strict=False):
        free = size + before + after - dilation * (taps - 1) - 1
        reached = [
            tap * dilation - before < size
            and tap * dilation - before + free // stride * stride >= 0
            for tap in range(taps)
        ]
        if not any(reached):  # there is no output, or no map in it
            return kernel, edges
        # No more than there are zeros for: none of the map is cut off.
        first = min(reached.index(True), before // dilation)
        last = min(reached[::-1].index(True), after // dilation)
        kept.append(slice(first, taps - last))
        left.append((before - first * dilation, after - last * dilation))
    return kernel[kept[0], kept[1]], left


def _xlas(
    x: jax.Array, kernel: jax.Array, *, stride: int, edges: Edges, dilation: int, groups: int = 1
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=edges,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _with_a_row(x: jax.Array, kernel: jax.Array, *, stride: int, dilation: int) -> jax.Array:
    """A convolution without padding, by one with zeros below."""
    rows = max((x.shape[1] - dilation * (kernel.shape[0] - 1) - 1) // stride + 1, 0)
    y = _xlas(x, kernel, stride=stride, edges=[(0, 1), (0, 0)], dilation=dilation)
    return y[:, :rows]


def _by_taps(
    x: jax.Array, kernel: jax.Array, *, stride: int, edges: Edges, dilation: int, groups: int
) -> jax.Array:
    """A convolution by groups as a sum over the kernel's taps, which XLA fuses."""
    height, width = kernel.shape[:2]
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    rows, columns = (
        (n - (taps - 1) * dilation - 1) // stride * stride + 1
        for n, taps in zip(x.shape[1:3], (height, width), strict=True)
    )
    # [..., group, channel of the group]; outputs lie group by group.
    x = x.reshape(*x.shape[:3], groups, -1)
    taps = kernel.reshape(height, width, kernel.shape[2], groups, -1)
    taps, parts = taps.astype(jnp.float32), []  # sums are float32, as those of a convolution
    for i, j in np.ndindex(height, width):
        top, left = i * dilation, j * dilation
        part = x[:, top : top + rows : stride, left : left + columns : stride].astype(jnp.float32)
        if kernel.shape[2] == 1:
            parts.append(part * taps[i, j, 0])
        else:
            parts.append(jnp.einsum("bhwgi,igo->bhwgo", part, taps[i, j]))
    total = sum(parts[1:], start=parts[0])
    return total.reshape(*total.shape[:3], -1).astype(x.dtype)
