"""Properties of the metrics on the device, of videos, of colours and of classes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmatte import metrics
from jaxmatte.metrics.pair import to_bytes
from jaxmatte.metrics.protocols import PROTOCOLS
from tests.metrics.drawn import (
    EVERY,
    KINDS,
    SEEDS,
    alike,
    draw_for,
    examples,
    marked,
    matte_of,
    pictures,
    spread,
)

PADDED = ((2, 24, 24), (3, 32, 28))  # each compiled once a protocol
# Which differ in rounding, stretching, kernel, region, crop, thresholds, ties and mistakes.
DIFFERENT = ("dim", "gfm-transition", "bgmv2", "legacy-gca")
COLOURS = {
    "sad": metrics.foreground_sad,
    "mse": metrics.foreground_mse,
    "mad": metrics.foreground_mad,
}


@functools.cache
def compiled(protocol):
    return jax.jit(
        functools.partial(metrics.per_example, protocol=protocol, metrics=metrics.METRICS)
    )


def padded(picture, shape, at, rng):
    """Batches of `shape [B, H, W]` and sizes; the picture is number `at`, the rest is anything."""
    found = [np.full((*shape, 1), np.nan, np.float32) for _ in picture]
    sizes = rng.integers(1, 20, (shape[0], 2))
    sizes[at] = height, width = picture[0].shape
    for batch, plane in zip(found, picture, strict=True):
        batch[...] = rng.choice([np.nan, 0, 1, 0.3, -7e9, np.inf], batch.shape)
        plane = plane / np.float32(255) if plane.dtype == np.uint8 else plane
        batch[at, :height, :width, 0] = plane
    return [jnp.asarray(batch) for batch in found], jnp.asarray(sizes)


@pytest.mark.parametrize("protocol", DIFFERENT)
@given(data=st.data())
@examples(60)
def test_padding_changes_no_digit(protocol, data):
    """Nor does the place in a batch; and the host measures the same."""
    prediction, truth, trimap = draw_for(data, protocol, trimap=True, floats=False)
    rng = np.random.default_rng(data.draw(SEEDS))
    if data.draw(st.booleans()):
        prediction = (prediction / 256 + rng.random(truth.shape) / 256).astype(np.float32)
    picture = prediction, truth, trimap
    results = []
    for shape in PADDED:
        at = int(rng.integers(shape[0]))
        batches, sizes = padded(picture, shape, at, rng)
        found = compiled(protocol)(*batches, sizes)
        results.append({name: float(values[at]) for name, values in found.items()})
    assert results[0] == results[1]
    alike(results[0], metrics.measure(*picture, protocol), picture, protocol, precision=2.0**-20)


# Videos


@EVERY
@given(data=st.data())
@examples(25)
def test_dtssd(protocol, data):
    first, truth, trimap = draw_for(data, protocol)
    record = PROTOCOLS[protocol]
    if record.band and trimap is None:
        trimap = np.full(truth.shape, 128, np.uint8)
    second, later = (
        marked(np.roll(matte, 1, 1), 0, 1, np.roll(matte, 1, 1)) for matte in (first, truth)
    )

    def measure(*frames):
        return metrics.dtssd(*frames, trimap, protocol)

    flicker = measure(first, second, truth, later)
    assert math.isfinite(flicker)
    assert 0 <= flicker <= 200
    planes = [spread(plane) for plane in (first, second, truth, later)]
    assert measure(*planes) == pytest.approx(flicker, rel=1e-12)
    assert measure(first, first, truth, truth) == 0  # an error that stays does not flicker
    if not record.override:
        assert measure(truth, later, truth, later) == 0
        assert measure(truth, later, first, second) == pytest.approx(flicker, rel=1e-12)
        assert measure(second, first, later, truth) == pytest.approx(flicker, rel=1e-12)
    frames = [(first, second), (truth, later), trimap if trimap is None else [trimap] * 2]
    assert metrics.dtssd_of_clip(*frames, protocol) == flicker / 2


@given(kind=KINDS, seed=SEEDS, step=st.integers(0, 200))
@examples(25)
def test_dtssd_of_an_even_step(kind, seed, step):
    """A matte that brightens by as much everywhere, where the truth does not."""
    dark = matte_of((9, 14), kind, seed) // 5
    found = metrics.dtssd(dark, dark + np.uint8(step), dark, dark)
    assert found == pytest.approx(100 * step / 255, rel=1e-12)
    assert metrics.dtssd(dark, dark + np.uint8(step), dark, dark + np.uint8(step)) == 0


# Colours


@st.composite
def foregrounds(draw):
    """Predicted and true colours and the matte, and a trimap or None, of one size and type."""
    *grey, trimap = draw(pictures())
    rng = np.random.default_rng(draw(SEEDS))
    colours = [np.stack([rng.permuted(matte, axis=1) for _ in range(3)], -1) for matte in grey]
    return *colours, grey[1], trimap


@EVERY
@given(data=st.data())
@examples(25)
def test_colours(protocol, data):
    found, true, alpha, trimap = data.draw(foregrounds())
    if trimap is None and PROTOCOLS[protocol].needs_trimap:
        trimap = np.full(alpha.shape, 128, np.uint8)
    one = 255 if found.dtype == np.uint8 else 1
    clear = (to_bytes(alpha) if PROTOCOLS[protocol].quantise else alpha) == 0
    elsewhere = np.where(clear[..., None], one - found, found).astype(found.dtype)
    worse = np.where(found >= true, one, 0).astype(found.dtype)
    views = [*(colours[:, ::-1][:, ::-1] for colours in (found, true)), spread(alpha)]
    for view in views:
        view.flags.writeable = False
    for name, measure in COLOURS.items():
        value = measure(found, true, alpha, trimap, protocol)
        near = pytest.approx(value, rel=1e-12, abs=1e-15)
        assert type(value) is float
        assert 0 <= value < math.inf
        assert measure(true, true, alpha, trimap, protocol) == 0
        assert measure(true, found, alpha, trimap, protocol) == near
        assert measure(found[..., ::-1], true[..., ::-1], alpha, trimap, protocol) == near
        assert measure(*views, trimap, protocol) == near
        assert measure(elsewhere, true, alpha, trimap, protocol) == value, name
        assert measure(worse, true, alpha, trimap, protocol) >= value * (1 - 1e-12)
        assert measure(found, true, np.zeros_like(alpha), trimap, protocol) == 0


@given(picture=pictures(trimap=True))
@examples(25)
def test_grey_colours_measure_as_a_matte(picture):
    found, true, trimap = picture
    opaque = np.full(found.shape, 255, np.uint8)
    colours = [np.repeat(matte[..., None], 3, axis=2) for matte in (found, true)]
    for protocol in ("dim", "gfm", "rvm"):
        wanted = metrics.measure(found, true, trimap, protocol)
        assert COLOURS["sad"](*colours, opaque, trimap, protocol) == pytest.approx(
            3 * wanted["sad"]
        )
        for name in ("mse", "mad"):
            value = COLOURS[name](*colours, opaque, trimap, protocol)
            assert value == pytest.approx(wanted[name])


# Classes


@given(data=st.data(), classes=st.integers(1, 6), seed=SEEDS)
@examples(100)
def test_classes(data, classes, seed):
    shape = data.draw(st.tuples(st.integers(0, 12), st.integers(1, 12)))
    rng = np.random.default_rng(seed)
    kinds = st.sampled_from([np.uint8, np.int32, np.int64])
    found, true = (rng.integers(0, classes, shape).astype(data.draw(kinds)) for _ in range(2))
    ignored = rng.random(shape) < data.draw(st.sampled_from([0, 0.3, 1]))
    true[ignored] = 255
    for labels in (found, true):
        labels.flags.writeable = False
    counts = metrics.confusion(found, true, classes)
    np.testing.assert_array_equal(
        counts.sum(axis=1), np.bincount(true[~ignored].astype(int), minlength=classes)
    )
    assert np.array_equal(counts, metrics.confusion(found.T, true.T, classes))
    elsewhere = np.where(ignored, (found + 1) % classes, found)
    assert np.array_equal(counts, metrics.confusion(elsewhere, true, classes))
    half = shape[1] // 2
    parts = [
        metrics.confusion(found[:, part], true[:, part], classes)
        for part in (slice(half), slice(half, None))
    ]
    assert np.array_equal(counts, sum(parts))
    kept = found[~ignored], true[~ignored]
    assert np.array_equal(counts.T, metrics.confusion(*kept[::-1], classes))
    assert metrics.miou(counts.T) == pytest.approx(metrics.miou(counts), rel=1e-15)
    order = rng.permutation(classes)
    renamed = metrics.confusion(order[kept[0]], order[kept[1]], classes)
    np.testing.assert_array_equal(metrics.iou(renamed)[order], metrics.iou(counts))
    assert metrics.miou(renamed) == pytest.approx(metrics.miou(counts), rel=1e-12)
    assert 0 <= metrics.miou(counts, extra=1) <= metrics.miou(counts) <= 1
    perfect = metrics.miou(metrics.confusion(kept[1], kept[1], classes))
    assert perfect == (1 if kept[1].size else 0)


@given(picture=pictures(trimap=False))
@examples(50)
def test_mattes_as_classes(picture):
    found, true, _ = picture
    value = metrics.matte_iou(found, true)
    assert 0 <= value <= 1
    assert metrics.matte_iou(true, true) == 1
    assert metrics.matte_iou(true, found) == value
    assert metrics.matte_iou(spread(found), spread(true)) == value
    one = 255 if found.dtype == np.uint8 else 1
    if not any((matte == one / 2).any() for matte in (found, true)):
        assert metrics.matte_iou(one - found, one - true) == pytest.approx(value, rel=1e-15)
