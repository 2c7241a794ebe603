"""Conn on the device: as on the host, whatever the padding."""

import functools

import jax
import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.metrics import components, connectivity
from jaxmatte.metrics.device import per_example
from jaxmatte.metrics.padded import exact_sum
from jaxmatte.metrics.padded import to_bytes as bytes_of_batch
from jaxmatte.metrics.pair import to_bytes
from jaxmatte.metrics.protocols import PROTOCOLS, Connectivity
from tests.metrics.cases import PREDICTION, TRIMAP, TRUTH, WASHED_OUT, gfm_case
from tests.metrics.test_connectivity import PICTURES, RULES

SIDE = 40
TALL, WIDE = 67, 101


def spiral():
    """A path as long as a picture allows."""
    picture = np.zeros((33, 33), np.uint8)
    for ring in range(0, 16, 2):
        picture[ring : 33 - ring, ring : 33 - ring] = 10
        picture[ring + 1 : 32 - ring, ring + 1 : 32 - ring] = 0
        picture[ring + 2, ring] = 0
        picture[ring + 2, ring + 1] = 10
    return picture


def comb():
    picture = np.zeros((33, 33), np.uint8)
    picture[:, ::2] = 6
    picture[32], picture[0, 3::4] = 9, 4
    return picture


ALL = [*PICTURES, spiral(), comb(), comb().T.copy(), np.maximum(spiral(), comb())]


@functools.cache
def batch_of_pictures():
    """All pictures in one batch, all that is beyond them passing everything; and where they are."""
    counts = np.full((len(ALL), SIDE, SIDE), 10, np.uint8)
    inside = np.zeros(counts.shape, bool)
    for at, picture in enumerate(ALL):
        height, width = picture.shape
        counts[at, :height, :width] = picture
        inside[at, :height, :width] = True
    return counts, inside


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.largest}-{rule.empty}-{rule.ties}")
def test_levels_are_those_of_the_host(rule):
    counts, inside = batch_of_pictures()
    levels = np.asarray(components.level_map(counts, rule, inside))
    assert not levels[~inside].any()
    for at, picture in enumerate(ALL):
        height, width = picture.shape
        host = connectivity.level_map(picture, rule)
        np.testing.assert_array_equal(levels[at, :height, :width], host, err_msg=str(at))


def test_one_picture_that_is_all_there():
    counts, _ = batch_of_pictures()
    host = connectivity.level_map(counts[0], Connectivity())
    np.testing.assert_array_equal(components.level_map(counts[0], Connectivity()), host)


def cases():
    """Predictions as floats, and truths and trimaps as bytes, of different sizes."""
    rng = np.random.default_rng(0)
    soft, true, marks, _ = gfm_case(1)
    noise = rng.random((41, 30)), rng.integers(0, 256, (41, 30), np.uint8)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    # 0.75 and 0.25 are 0.15 above 0.6 and 0.1, but not above 0.6000000000000001.
    limits = np.repeat([[0.75], [0.25]], 6, axis=1), np.uint8([[255, 170, 0] * 2, [40] * 6])
    found = [
        (PREDICTION / 255, TRUTH, TRIMAP),
        (0 * PREDICTION / 255, TRUTH, TRIMAP),
        (WASHED_OUT / 255, TRUTH, np.full_like(TRIMAP, 128)),
        (soft[:60, :91], to_bytes(true)[:60, :91], marks[:60, :91]),
        (*noise, TRIMAP[:41, 40:70]),
        (every > 0, every, np.full_like(every, 128)),  # 153 / 255 fails 0.6000000000000001
        (*limits, np.full((2, 6), 128, np.uint8)),
    ]
    return [(prediction.astype(np.float32), *rest) for prediction, *rest in found]


def padded(rows, height=TALL, width=WIDE, fill=np.nan, odd=2):
    """Arrays of a batch, with a row that is none, and the true sizes."""
    size = np.array([*(row[1].shape for row in rows), (0, 0)])
    arrays = []
    for values in zip(*rows, strict=True):
        beyond = odd if values[0].dtype == np.uint8 else fill
        array = np.full((len(size), height, width, 1), beyond, values[0].dtype)
        for row, value in zip(array, values, strict=False):
            row[: value.shape[0], : value.shape[1], 0] = value
        arrays.append(array)
    return *arrays, size


def conn(*arrays, protocol="dim"):
    if len(arrays) == 5:
        *arrays, protocol = arrays
    return per_example(*arrays, protocol=protocol, metrics=("conn",))["conn"]


def needs_trimap(protocol):
    record = metrics.get(protocol)
    return record.needs_trimap or record.band


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_are_those_of_the_host(protocol):
    """With a trimap and without, of bytes and of what a step decodes, by either way to divide."""
    prediction, truth, trimap, size = padded(cases())
    for marks in [trimap] if needs_trimap(protocol) else [trimap, None]:
        found = np.asarray(conn(prediction, truth, marks, size, protocol))
        assert found.shape == (len(size),)
        assert found.dtype == np.float32
        host = [metrics.conn(p, t, None if marks is None else m, protocol) for p, t, m in cases()]
        np.testing.assert_allclose(found, [*host, 0.0], rtol=5e-7, atol=0)
    marks = np.where(trimap == 128, 0.5, trimap / 255).astype(np.float32)
    expected = conn(prediction, truth, trimap, size, protocol)
    for decoded in (truth / np.float32(255), truth * np.float32(1 / 255)):
        again = conn(prediction, decoded, marks, size, protocol)
        np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("protocol", ["dim", "legacy-gfm"])
def test_padding_and_batch_change_no_digit(protocol):
    """Whatever lies beyond, however much of it, alone or with others, compiled or not."""
    expected = np.asarray(conn(*padded(cases()), protocol))
    function = jax.jit(functools.partial(conn, protocol=protocol))
    if protocol == "dim":
        found = function(*padded(cases(), 64, WIDE + 10, fill=1.0, odd=255))
        np.testing.assert_array_equal(found, expected)
    else:
        alone = (array[None, ..., None] for array in cases()[0])
        np.testing.assert_array_equal(function(*alone), expected[:1])


def test_two_mattes_of_bytes_are_measured_as_bytes():
    """Under a protocol of floats too, as on the host: 153 of the prediction fails 0.6 as well."""
    rows = [(to_bytes(prediction), *rest) for prediction, *rest in cases()]
    found = conn(*padded(rows), "legacy-gfm")
    host = [metrics.conn(*row, "legacy-gfm") for row in rows]
    np.testing.assert_allclose(found, [*host, 0.0], rtol=5e-7, atol=0)


def test_limits_of_floats_and_of_bytes():
    for rule in (Connectivity(), Connectivity(thresholds="double")):
        values, least = connectivity.thresholds(rule), connectivity.byte_thresholds(rule)
        limits = components._limits(rule, of_bytes=False)
        assert (limits >= values).all()
        assert (np.nextafter(limits, np.float32(-1)) < values).all()
        every = (np.arange(256) / 255).astype(np.float32)
        passes = every[:, None] >= components._limits(rule, of_bytes=True)
        np.testing.assert_array_equal(passes, np.arange(256)[:, None] >= least)


def test_floats_are_rounded_to_bytes_as_on_the_host():
    """In float32 some products with 255 are rounded to a half, and then to another byte."""
    halves = ((np.arange(257) - 0.5) / 255).astype(np.float32)
    values = [halves, np.nextafter(halves, np.float32(2)), np.nextafter(halves, np.float32(-2))]
    values = np.concatenate([*values, np.float32([0.5]), np.random.default_rng(0).random(999)])
    values = values.astype(np.float32)
    np.testing.assert_array_equal(jax.jit(bytes_of_batch)(values), to_bytes(values))
    assert (np.rint(np.clip(values, 0, 1) * np.float32(255)) != to_bytes(values)).sum() > 9


def test_sums_are_exact_up_to_the_last_rounding():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**30, (3, 50, 70, 1), np.int32)
    values[1], values[2] = 2**30 - 1, 510
    found = np.asarray(jax.jit(exact_sum)(values))
    np.testing.assert_allclose(found, values.sum(axis=(1, 2, 3), dtype=np.int64), rtol=2**-22)
    assert found[2] == 510 * 3500


def test_a_trimap_that_must_be_is_asked_for():
    pair = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 1))
    with pytest.raises(UserError, match="needs a trimap; metrics"):
        conn(*pair, protocol="bgmv2")
    with pytest.raises(UserError, match="needs a trimap"):
        conn(*pair, protocol="gfm-transition")
