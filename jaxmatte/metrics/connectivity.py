"""Conn: how much of each matte hangs together with what both mattes have in common.

At each threshold k/10 the largest 4-connected component of min(prediction, truth) >= k/10 is what
both have in common. A pixel is connected up to the last threshold before the first whose component
it is not in; Conn sums by how much more one matte rises above that level than the other.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import Connectivity, Protocol

_Pixel = tuple[int, int]

STEPS = 10
NEAR = 0.15  # a matte that rises less than this above its level counts as connected
# A byte v rises by (2 v - 51 l) / 510 above level l, which counts from 77 on: above this byte.
_LAST_NEAR = np.array([min((76 + 51 * level) // 2, 255) for level in range(256)], np.uint8)


def conn(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """The connectivity error of `[H, W]` mattes over the region, over the protocol's scale."""
    return conn_of(prepare(prediction, truth, trimap, protocol))


def conn_of(pair: Pair) -> float:
    """The connectivity error of a pair: exact for bytes, in float64 for floats."""
    rule = pair.protocol.connectivity
    if not pair.truth.size:
        return 0.0
    # Where both mattes are all there neither rises above level 9, so threshold 10 decides nothing.
    common = passed(pair.prediction, pair.truth, rule, STEPS - 1)
    levels = level_map(common, rule)
    error = _error_of_bytes if pair.is_bytes else _error_of_floats
    return error(pair, levels) / rule.scale


def value_of(levels: np.ndarray, rule: Connectivity) -> np.ndarray:
    """What levels in tenths stand for, float64."""
    return levels * 0.1 if rule.thresholds == "double" else levels / 10


def thresholds(rule: Connectivity) -> np.ndarray:
    """The levels 0, .1 .. 1 as `rule` compares with them: float32 or float64 `[11]`."""
    values = value_of(np.arange(STEPS + 1), rule)
    return values if rule.thresholds == "double" else values.astype(np.float32)


def byte_thresholds(rule: Connectivity) -> np.ndarray:
    """The least byte that passes each of the levels 0, .1 .. 1, int `[11]`."""
    values = thresholds(rule)
    return np.searchsorted((np.arange(256) / 255).astype(values.dtype), values)


def passed(
    prediction: np.ndarray, truth: np.ndarray, rule: Connectivity, steps: int = STEPS
) -> np.ndarray:
    """How many of the first `steps` thresholds both mattes pass, uint8 `[H, W]`."""
    if prediction.dtype == np.uint8:
        least = byte_thresholds(rule)[1 : steps + 1]
        table = np.searchsorted(least, np.arange(256), side="right").astype(np.uint8)
        return cv2.LUT(cv2.min(prediction, truth), table)
    values = thresholds(rule)[1 : steps + 1]
    count = np.zeros(truth.shape, np.uint8)
    for strip in _strips(truth):
        common = np.minimum(prediction[strip], truth[strip]).astype(values.dtype, copy=False)
        for value in values:
            count[strip] += common >= value
    return count


def level_map(passed: np.ndarray, rule: Connectivity) -> np.ndarray:
    """The level up to which each pixel is connected, in tenths.

    Args:
      passed: how many thresholds the pixel passes, uint8 `[H, W]` in 0..10, not empty.
      rule: which component is the largest, and what an empty threshold means.

    Returns:
      uint8 `[H, W]` in 0..10.
    """
    levels, top = np.zeros_like(passed), int(passed.max())
    left, upper, width, height = cv2.boundingRect(passed)
    box = slice(upper, upper + height), slice(left, left + width)
    inside, search = levels[box], _Search(passed[box], rule.ties)
    for level in range(1, top + 1):
        # To "any", all below the threshold is one component. Once the largest, it stays so.
        rest = _count(passed < level) if rule.largest == "any" else 0
        if 2 * rest >= passed.size:
            return _up_to_the_end(levels, passed, level)
        size, seed, component = search.largest(level)
        if rest >= size:
            return _up_to_the_end(levels, passed, level)
        # A component of this threshold lies wholly in one of the last, or wholly out of it.
        if inside[seed] < level - 1:
            return levels
        inside += component.view(np.uint8)
    if rule.largest == "any" or rule.empty == "skipped":
        return _up_to_the_end(levels, passed, top + 1)
    return levels


def _up_to_the_end(levels: np.ndarray, passed: np.ndarray, level: int) -> np.ndarray:
    """Pixels that were connected so far, and do not pass `level`, are connected throughout."""
    return np.where((levels == level - 1) & (passed < level), np.uint8(STEPS), levels)


class _Search:
    """The largest component of one threshold after the other, from 1 on.

    As thresholds rise components only shrink and break. So those of the last threshold that were
    large are filled again, each from a pixel inside, at a fraction of what labelling a picture
    costs. The largest of these is the largest of all if it outweighs whatever else there can be:
    the pixels not filled, or what the last threshold left them at most. Else the picture is
    labelled.
    """

    def __init__(self, passed: np.ndarray, ties: str):
        self._passed, self._ties = passed, ties
        self._last = passed > 0  # the last component, bool `[H, W]`
        self._seed = 0, 0  # a pixel of it
        self._rivals: list[tuple[int, _Pixel]] = []  # others, the pixels of each at most, and one
        self._others = 0  # no component beside these has more pixels than this

    def largest(self, level: int) -> tuple[int, _Pixel, np.ndarray]:
        """The largest component at a level that some pixel passes: size, a pixel, bool `[H, W]`."""
        mask = (self._passed >= level).view(np.uint8)
        size = self._fill(mask) or self._label(mask)
        return size, self._seed, self._last

    def _fill(self, mask: np.ndarray) -> int:
        """Fills what is known, then what looks large; 0 if that decides nothing."""
        # What is not filled yet: pixels of the last component, and others.
        inside = _count(mask & self._last)
        outside = cv2.countNonZero(mask) - inside
        queue = [(0, self._seed), *sorted(self._rivals, reverse=True)]
        filled: list[tuple[int, _Pixel]] = []
        looked = False
        while True:
            most = max([self._others, *(bound for bound, _ in queue)])
            if filled and max(filled)[0] > max(inside, min(outside, most)):
                break
            if not queue and not looked:
                queue, looked = [(0, seed) for seed in _seeds(self._passed, mask)], True
            if not queue:
                return 0
            bound, seed = queue.pop(0)
            size = 0
            if mask[seed] == 1:
                size = cv2.floodFill(mask, None, seed[::-1], len(filled) + 2, flags=4)[0]
                filled.append((size, seed))
            if self._last[seed]:
                inside -= size
            else:
                outside -= size
                self._others = max(self._others, bound - size)  # the rest of what broke
        sizes = np.array([0, 0, *(size for size, _ in filled)])
        winner = _first(mask, sizes == sizes.max(), self._ties)
        self._last = mask == winner
        size, self._seed = filled.pop(winner - 2)
        self._others = max(inside, min(outside, self._others))
        self._rivals = [rival for rival in [*filled, *queue] if rival[0] > self._others]
        return size

    def _label(self, mask: np.ndarray) -> int:
        """Labels the picture."""
        labels, sizes = _components(mask)
        winner = _first(labels, sizes == sizes.max(), self._ties)
        size, sizes[winner] = int(sizes[winner]), 0
        self._last = labels == winner
        self._seed = _highest(self._passed, self._last)
        large = [label for label in _largest(sizes) if 4 * sizes[label] > size]
        self._rivals = [
            (int(sizes[label]), _highest(self._passed, labels == label)) for label in large
        ]
        sizes[large] = 0
        self._others = int(sizes.max())
        return size


def _seeds(passed: np.ndarray, mask: np.ndarray) -> list[_Pixel]:
    """A high pixel of each of the components of `mask == 1` that look largest from afar."""
    step = max(1, max(mask.shape) // 128)
    coarse = np.ascontiguousarray(passed[::step, ::step])
    labels, sizes = _components((mask[::step, ::step] == 1).view(np.uint8))
    found = []
    for label in _largest(sizes):
        y, x = _highest(coarse, labels == label)
        found.append((y * step, x * step))
    return found


def _highest(passed: np.ndarray, pixels: np.ndarray) -> _Pixel:
    """The first of the pixels that pass the most thresholds."""
    x, y = cv2.minMaxLoc(passed, pixels.view(np.uint8))[3]
    return y, x


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """4-connected components of a uint8 `[H, W]`: labels from 1, the size of each (of 0: 0)."""
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    sizes = np.bincount(labels.ravel(), minlength=count)
    sizes[0] = 0
    return labels, sizes


def _largest(sizes: np.ndarray) -> list[int]:
    """The labels of the largest components, the largest first; at most eight."""
    return [int(label) for label in np.argsort(sizes)[:-9:-1] if sizes[label]]


def _first(labels: np.ndarray, wanted: np.ndarray, ties: str) -> int:
    """Which of the labels `wanted` a scan by rows or by columns meets first."""
    if np.count_nonzero(wanted) == 1:
        return int(np.argmax(wanted))
    pixels = wanted[labels]
    if ties == "columns":
        labels, pixels = labels.T, pixels.T
    return int(labels[np.unravel_index(np.argmax(pixels), pixels.shape)])


def _count(mask: np.ndarray) -> int:
    return cv2.countNonZero(mask.view(np.uint8))


def _error_of_bytes(pair: Pair, levels: np.ndarray) -> float:
    """The sum of errors, exact: everything is a whole number of 1/510."""
    near = cv2.LUT(levels, _LAST_NEAR)
    if pair.summed is not None:
        left_out = pair.summed.view(np.uint8) - np.uint8(1)  # 255, which no byte is above
        near = cv2.max(near, left_out)
    prediction, truth = cv2.subtract(pair.prediction, near), cv2.subtract(pair.truth, near)
    # One that counts and one that does not differ by 2 v - 51 l = 2 (v - near) + 76, or 75 where
    # the level is odd.
    alone = (prediction > 0) ^ (truth > 0)
    odd = alone.view(np.uint8) & levels
    odd &= 1
    twice = 2 * round(cv2.norm(prediction, truth, cv2.NORM_L1))
    return (twice + 76 * _count(alone) - cv2.countNonZero(odd)) / 510


def _error_of_floats(pair: Pair, levels: np.ndarray) -> float:
    """The sum of errors in float64."""
    total = 0.0
    for strip in _strips(levels):
        base = value_of(levels[strip], pair.protocol.connectivity)
        rises = [matte[strip] - base for matte in (pair.prediction, pair.truth)]
        for rise in rises:
            rise *= rise >= NEAR
        error = np.abs(rises[0] - rises[1])
        total += error.sum() if pair.summed is None else error.sum(where=pair.summed[strip])
    return float(total)


def _strips(picture: np.ndarray) -> Iterator[slice]:
    """Rows of a picture, not empty, as many at a time as stay in the cache as float64."""
    rows = -(-(2**15) // picture.shape[1])
    return (slice(start, start + rows) for start in range(0, picture.shape[0], rows))
