"""Conn on the host: golden values, and a definition so plain that it cannot be wrong."""

import concurrent.futures
import dataclasses
import itertools
import math

import cv2
import numpy as np
import pytest

from jaxmatte.metrics import connectivity
from jaxmatte.metrics.connectivity import conn, conn_of, level_map, passed
from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import PROTOCOLS, Connectivity
from tests.metrics.cases import (
    ALL_UNKNOWN,
    DIM,
    GCA,
    GFM,
    PREDICTION,
    TRIMAP,
    TRUTH,
    WASHED_OUT,
    gca_case,
    gfm_case,
    ppmatting_case,
)

RULES = [
    Connectivity(largest=largest, empty=empty, ties=ties)
    for largest in ("foreground", "any")
    for empty in ("nothing", "skipped")
    for ties in ("rows", "columns")
]
LEGACY = {
    "legacy-gca": [(PREDICTION, 0.207365), (0 * PREDICTION, 0.0)],
    "legacy-gfm": [(PREDICTION, 0.204004), (0 * PREDICTION, 0.0), (WASHED_OUT, 0.512763)],
    "gfm": [(PREDICTION, 0.204004), (0 * PREDICTION, 1.997988), (WASHED_OUT, 1.022043)],
}


def components_of(mask):
    """The 4-connected components of a bool `[H, W]`: sets of pixels."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        component, border = set(), [left.pop()]
        while border:
            y, x = border.pop()
            component.add((y, x))
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            border += near
        found.append(component)
    return found


def plain_level_map(counts, rule):
    """The levels of a picture by the words of the definition."""
    every = set(np.ndindex(counts.shape))
    levels = np.full(counts.shape, -1)
    for level in range(1, 11):
        parts = components_of(counts >= level)
        if not parts and rule.empty == "skipped":
            continue
        best = max(map(len, parts), default=0)
        scan = (lambda at: at) if rule.ties == "rows" else (lambda at: at[::-1])
        equal = [part for part in parts if len(part) == best]
        largest = min(equal, key=lambda part: min(map(scan, part)), default=set())
        rest = every.difference(*parts)
        if rule.largest == "any" and len(rest) >= best:
            largest = rest
        for at in every - largest:
            if levels[at] < 0:
                levels[at] = level - 1
    return np.where(levels < 0, 10, levels)


def plain_conn(pair):
    """The sum of errors by the words of the definition, in float64."""
    rule = pair.protocol.connectivity
    mattes = [m / 255 if pair.is_bytes else m for m in (pair.prediction, pair.truth)]
    if rule.thresholds == "double":
        steps = np.arange(0, 1.1, 0.1)
        compared = np.minimum(*mattes)
    else:
        steps = np.arange(11) / 10
        compared = np.minimum(*mattes).astype(np.float32)
    counts = sum((compared >= compared.dtype.type(step)).astype(int) for step in steps[1:])
    values = steps[plain_level_map(counts, rule)]
    phi = [1 - (matte - values) * (matte - values >= 0.15) for matte in mattes]
    counted = np.ones(values.shape, bool) if pair.summed is None else pair.summed
    return np.abs(phi[0] - phi[1])[counted].sum() / rule.scale


def drawn(rng):
    """A small picture of counts 0..10, of a kind that makes ties, pieces or nothing."""
    height, width = rng.integers(1, 12, 2)
    kind = rng.integers(7)
    if kind == 0:
        return rng.integers(0, 11, (height, width), np.uint8)
    if kind == 1:  # a chequerboard, all of whose fields are as large
        high, low = sorted(rng.integers(0, 11, 2))[::-1]
        return np.where(np.indices((height, width)).sum(0) % 2, high, low).astype(np.uint8)
    if kind == 2:
        return np.full((height, width), rng.integers(0, 11), np.uint8)
    if kind == 3:  # blocks of few sizes, apart from each other
        levels = rng.integers(0, 11, (4, 4), np.uint8)
        out = np.zeros((12, 12), np.uint8)
        for y, x in np.ndindex(4, 4):
            tall, wide = rng.integers(1, 3, 2)
            out[3 * y : 3 * y + tall, 3 * x : 3 * x + wide] = levels[y, x]
        return out
    if kind == 4:
        return rng.integers(0, 11, rng.permutation([1, rng.integers(1, 40)]), np.uint8)
    if kind == 5:
        return rng.choice(np.array([0, 9, 10], np.uint8), (height, width), p=[0.3, 0.3, 0.4])
    smooth = cv2.blur(rng.random((12, 12)), (3, 3))
    return np.clip((smooth - 0.3) * 26, 0, 10).astype(np.uint8)


PICTURES = [drawn(np.random.default_rng(seed)) for seed in range(240)]


@pytest.mark.parametrize("case", DIM)
def test_dim_golden_values(case):
    prediction, trimap, *_, expected = DIM[case]
    before = [array.copy() for array in (prediction, TRUTH)]
    assert conn(prediction, TRUTH, trimap) == pytest.approx(expected, rel=2e-6, abs=5e-7)
    for array, kept in zip((prediction, TRUTH), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("protocol", LEGACY)
@pytest.mark.parametrize("floats", [False, True])
def test_mistakes_of_old_tables(protocol, floats):
    """A background that wins, a threshold left out, and `gfm` without either."""
    for prediction, expected in LEGACY[protocol]:
        pair = (prediction / 255, TRUTH / 255) if floats else (prediction, TRUTH)
        assert conn(*pair, ALL_UNKNOWN, protocol) == pytest.approx(expected, rel=2e-6, abs=5e-7)
    if protocol == "legacy-gca":
        assert conn(PREDICTION, TRUTH, TRIMAP, protocol) == pytest.approx(0.137643, abs=5e-7)


def test_gca_golden_values():
    prediction, truth, trimap = gca_case()
    expected = GCA["gca_python"]["conn"]
    assert conn(prediction, truth, trimap, "legacy-gca") == pytest.approx(expected, rel=1e-12)
    # A fork of it in single precision, the background left out: what `dim` is.
    assert conn(prediction, truth, trimap) == pytest.approx(GCA["mmagic"]["conn"], rel=2e-6)


@pytest.mark.parametrize("name", "ab")
def test_ppmatting_golden_values(name):
    *pair, trimap, expected = ppmatting_case(name)
    for given, form in ((trimap, "with_trimap"), (None, "without_trimap")):
        assert conn(*pair, given, "ppmatting") == pytest.approx(expected[form]["conn"], rel=2e-6)


@pytest.mark.parametrize("number", range(len(GFM["cases"])))
def test_gfm_golden_values(number):
    prediction, truth, _, expected = gfm_case(number)
    for protocol in ("gfm", "legacy-gfm"):
        value = conn(prediction, truth, None, protocol)
        assert value == pytest.approx(expected["whole"]["Conn"], rel=2e-6)
        single = conn(prediction.astype(np.float32), truth, None, protocol)
        assert single == pytest.approx(expected["float32_pred"]["Conn"], rel=2e-6)


def test_thresholds_of_bytes():
    single = [math.ceil(25.5 * step) for step in range(11)]
    double = [154 if step == 6 else least for step, least in enumerate(single)]
    for kind, expected in (("single", single), ("double", double)):
        rule = Connectivity(thresholds=kind)
        assert connectivity.byte_thresholds(rule).tolist() == expected
        every = np.arange(256, dtype=np.uint8)[None]
        counts = [sum(byte >= least for least in expected[1:]) for byte in range(256)]
        assert passed(every, every, rule).tolist() == [counts]
        assert passed(every / 255, every / 255, rule).tolist() == [counts]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.largest}-{rule.empty}-{rule.ties}")
def test_levels_are_those_of_the_definition(rule):
    for number, picture in enumerate(PICTURES):
        picture.setflags(write=False)
        found = level_map(picture, rule)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, plain_level_map(picture, rule), err_msg=str(number))


def test_labelling_finds_what_filling_finds(monkeypatch):
    """Of noise nothing is certain before it is labelled; here nothing ever is."""
    filled = [level_map(picture, rule) for picture in PICTURES for rule in RULES[::3]]
    monkeypatch.setattr(connectivity._Search, "_fill", lambda search, mask: 0)
    labelled = [level_map(picture, rule) for picture in PICTURES for rule in RULES[::3]]
    for first, second in zip(filled, labelled, strict=True):
        np.testing.assert_array_equal(first, second)


def test_columns_go_before_rows_where_the_protocol_says_so():
    """Two components of two pixels: one is met first by rows, the other by columns."""
    truth = np.array([[0, 255, 255], [0, 0, 0], [255, 255, 0]], np.uint8)
    levels = {ties: level_map(truth // 25, Connectivity(ties=ties)) for ties in ("rows", "columns")}
    np.testing.assert_array_equal(levels["rows"], [[0, 10, 10], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(levels["columns"], [[0, 0, 0], [0, 0, 0], [10, 10, 0]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("floats", [False, True])
def test_errors_are_those_of_the_definition(protocol, floats):
    """Values at and beside thresholds and limits, in any region."""
    rng = np.random.default_rng(3)
    some = np.array([0, 25, 26, 50, 51, 63, 64, 102, 127, 153, 154, 178, 204, 230, 254, 255])
    for _ in range(20):
        shape = tuple(4 * rng.integers(1, 4, 2))
        mattes = [rng.choice(some, shape).astype(np.uint8) for _ in range(2)]
        if floats:
            noise = rng.choice([0, 0.25], shape)
            mattes = [np.clip((m + noise) / 255, 0, 1).astype(np.float32) for m in mattes]
        trimap = rng.choice(np.array([0, 128, 255], np.uint8), shape)
        pair = prepare(*mattes, trimap, protocol)
        assert conn_of(pair) == pytest.approx(plain_conn(pair), rel=1e-12, abs=1e-15)


def labelled_level_map(counts):
    """Levels by labelling every threshold, with OpenCV."""
    levels = np.full(counts.shape, 10)
    for level in range(10, 0, -1):
        mask = (counts >= level).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        sizes = stats[:, cv2.CC_STAT_AREA]
        sizes[0] = 0
        component = (labels == sizes.argmax()) & (sizes.max() > 0)
        levels[~component] = level - 1
    return levels


@pytest.mark.parametrize("blur", [1, 3, 9, 31])
@pytest.mark.parametrize("shape", [(300, 420), (1, 3000), (2500, 2)])
def test_large_pictures(blur, shape):
    """Here components are looked for from afar; from noise to few large ones of like size."""
    rng = np.random.default_rng(blur)
    for mean in (4.5, 6.5):
        noise = cv2.blur(rng.normal(0, 3 * blur, shape), (blur, blur))
        counts = np.clip(noise + mean, 0, 10).astype(np.uint8)
        found = level_map(counts, Connectivity())
        np.testing.assert_array_equal(found, labelled_level_map(counts))


def test_what_is_small_may_become_the_largest():
    """Among many pieces one wins by far, then breaks; a piece far away is larger from there on."""
    counts = np.zeros((40, 14), np.uint8)
    counts[:4, :5] = 1
    counts[0, :3] = 9  # what is left of the largest
    for number, row in enumerate(range(8, 38, 2)):
        counts[row, :5] = counts[row, 8:13] = 9 if number == 11 else 1
    counts[30, 8:13] = 1
    expected = np.zeros_like(counts)
    expected[:4, :5] = 1
    np.testing.assert_array_equal(level_map(counts, Connectivity()), expected)


def test_equal_components_that_are_large():
    """Three people of one size: filling decides, by the place of the first pixel."""
    counts = np.zeros((200, 330), np.uint8)
    for x, y in ((10, 30), (120, 10), (230, 50)):
        counts[y : y + 100, x : x + 90] = 5
        counts[y + 20 : y + 80, x + 20 : x + 70] = 10
    for ties, x in (("rows", 120), ("columns", 10)):
        found = level_map(counts, Connectivity(ties=ties))
        assert np.flatnonzero(found.any(axis=0)).tolist() == list(range(x, x + 90))
        assert found[:, x : x + 90].max() == 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (1, 7), (7, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("protocol", ["dim", "gfm", "legacy-gca", "legacy-gfm"])
def test_constant_pictures_of_any_shape(shape, protocol):
    """One byte everywhere, for both mattes: the whole picture is one component."""
    for low, high in itertools.product((0, 51, 153, 255), repeat=2):
        mattes = [np.full(shape, byte, np.uint8) for byte in (low, high)]
        for pair in (mattes, [matte / 255 for matte in mattes]):
            prepared = prepare(*pair, None, protocol)
            assert conn_of(prepared) == pytest.approx(plain_conn(prepared), rel=1e-12, abs=1e-15)


def test_nothing_to_measure():
    assert conn(TRUTH[:0], TRUTH[:0]) == 0
    assert conn(TRUTH[:3, :0], TRUTH[:3, :0], None, "gfm") == 0
    assert conn(TRUTH[:3], PREDICTION[:3], None, "bgmv2") == 0
    assert conn(PREDICTION, TRUTH, np.where(TRIMAP == 128, 0, TRIMAP)) == 0


def test_views_and_threads():
    """Parts of larger arrays, flipped ones, and many at once give the same as copies in a row."""
    wide = np.repeat(np.stack([PREDICTION, TRUTH], -1), 3, axis=0)
    views = [wide[::3, ::-1, 0], wide[::3, ::-1, 1]]
    value = conn(*(view.copy() for view in views), protocol="gfm")
    assert conn(*views, protocol="gfm") == value
    rng = np.random.default_rng(0)
    mattes = [rng.integers(0, 256, (2, 90, 80), np.uint8) for _ in range(12)]
    alone = [conn(*pair) for pair in mattes]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda pair: conn(*pair), mattes)) == alone


def test_the_scale_divides():
    record = dataclasses.replace(PROTOCOLS["dim"], connectivity=Connectivity(scale=1.0))
    assert conn(PREDICTION, TRUTH, None, record) == pytest.approx(
        1000 * conn(PREDICTION, TRUTH, None, "rvm")
    )
    assert isinstance(conn_of(Pair(PREDICTION, TRUTH, TRIMAP == 128, record)), float)
