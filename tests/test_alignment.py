"""Alignment of plates, by homographies that are known."""

import cv2
import numpy as np
import pytest

from jaxmatte import alignment
from jaxmatte.data import studio
from jaxmatte.errors import UserError

HEIGHT, WIDTH = 240, 320


@pytest.fixture(name="scene", scope="module")
def _scene():
    """Plate, frame and the matte of its subject, and the homography between them."""
    drawn = studio.render(0, 1_000_000_009, (HEIGHT, WIDTH))
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    moved = corners + np.array([[5, -4], [-3, 6], [7, 2], [-6, -5]], np.float32)
    truth = cv2.getPerspectiveTransform(corners, moved)
    behind = seen(drawn.background, truth)
    noise = np.random.default_rng(0).normal(0, 3, behind.shape)
    alpha = drawn.alpha[..., None] / 255
    frame = alpha * drawn.foreground + (1 - alpha) * behind
    frame = 255 * (frame / 255) ** 1.1 + noise  # another exposure
    frame = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    for pixels in (drawn.background, frame, drawn.alpha):
        pixels.flags.writeable = False  # nothing given may be changed
    return drawn.background, frame, drawn.alpha, truth


def seen(plate, homography):
    size = (plate.shape[1], plate.shape[0])
    return cv2.warpPerspective(plate, homography, size, borderMode=cv2.BORDER_REFLECT)


def off(found, truth, height=HEIGHT, width=WIDTH):
    """The greatest distance between where two homographies put a pixel of the picture."""
    places = np.stack(np.meshgrid(np.linspace(0, width, 9), np.linspace(0, height, 9)), -1)
    one, other = (cv2.perspectiveTransform(places.reshape(-1, 1, 2), h) for h in (found, truth))
    return np.linalg.norm(one - other, axis=-1).max()


@pytest.mark.parametrize("masked", [True, False])
def test_a_known_homography_behind_a_subject(scene, masked):
    plate, frame, alpha, truth = scene
    aligned, found = alignment.align(plate, frame, alpha if masked else None)
    assert off(found, truth) < 1
    assert aligned.shape == frame.shape
    assert aligned.dtype == np.uint8
    inside = cv2.warpPerspective(np.ones(alpha.shape), truth, (WIDTH, HEIGHT))
    gap = np.abs(aligned.astype(int) - seen(plate, truth))
    assert gap[inside == 1].mean() < 1
    before = np.abs(plate.astype(int) - seen(plate, truth))
    assert before[inside == 1].mean() > 4


def test_pixels_that_the_plate_does_not_show_are_the_frames(scene):
    plate, frame, alpha, _ = scene
    aligned, found = alignment.align(plate, frame, alpha)
    shown = cv2.warpPerspective(np.full(alpha.shape, 255, np.uint8), found, (WIDTH, HEIGHT))
    assert 0 < (shown == 0).sum() < shown.size / 10
    np.testing.assert_array_equal(aligned[shown == 0], frame[shown == 0])


def test_the_same_whatever_the_state_of_opencv(scene):
    plate, frame, alpha, _ = scene
    cv2.setRNGSeed(1)
    first = alignment.align(plate, frame, alpha)
    cv2.setRNGSeed(2)
    cv2.randu(np.zeros((5, 5), np.uint8), 0, 255)
    for one, other in zip(first, alignment.align(plate, frame, alpha), strict=True):
        np.testing.assert_array_equal(one, other)
    cv2.setRNGSeed(7)
    drawn = cv2.randu(np.zeros((5, 5), np.uint8), 0, 255)
    cv2.setRNGSeed(7)
    alignment.align(plate, frame, alpha)
    np.testing.assert_array_equal(cv2.randu(np.zeros((5, 5), np.uint8), 0, 255), drawn)


def test_a_plate_of_another_size(scene):
    plate, frame, alpha, truth = scene
    large = cv2.resize(plate, (480, 360), interpolation=cv2.INTER_CUBIC)
    aligned, found = alignment.align(large, frame, alpha)
    assert aligned.shape == frame.shape
    shrink = np.array([[2 / 3, 0, -1 / 6], [0, 2 / 3, -1 / 6], [0, 0, 1]])
    assert off(found, truth @ shrink, 360, 480) < 1.5


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (37, 51), (1, 1)])
def test_without_anything_to_match_the_plate_is_given_back(shape):
    grey, other = np.full((*shape, 3), 90, np.uint8), np.full((*shape, 3), 160, np.uint8)
    aligned, found = alignment.align(grey, other)
    assert found is None
    np.testing.assert_array_equal(aligned, grey)
    assert aligned is not grey
    aligned, found = alignment.align(np.full((60, 50, 3), 90, np.uint8), other)
    assert (aligned.shape, found) == (other.shape, None)


def test_another_place_altogether_is_refused(scene):
    plate, frame, alpha, _ = scene
    for other in (
        studio.render(0, 1_000_000_005, (HEIGHT, WIDTH)).background,
        np.random.default_rng(0).integers(0, 256, frame.shape, np.uint8),
    ):
        aligned, found = alignment.align(other, frame, alpha)
        assert found is None
        np.testing.assert_array_equal(aligned, other)
    aligned, found = alignment.align(plate, frame, np.ones_like(alpha))  # all is subject
    assert found is None


@pytest.mark.parametrize(
    ("homography", "sound"),
    [
        (np.eye(3), True),
        (np.diag([0.4, 0.5, 1.0]), False),  # a fifth of the area
        (np.diag([-1.0, 1.0, 1.0]), False),  # mirrored
        (np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]), False),  # corners behind the camera
        (np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1.0]]), False),  # a line
        (np.full((3, 3), np.nan), False),
    ],
)
def test_what_no_camera_does_is_refused(homography, sound):
    size = (HEIGHT, WIDTH)
    assert alignment._is_sound(homography, size, size) == sound


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plate": np.zeros((8, 8), np.uint8)}, "the plate is uint8 .* give"),
        ({"frame": np.zeros((8, 8, 3))}, "the frame is float64"),
        ({"mask": np.zeros((8, 9))}, "the mask is .*frame's size"),
    ],
)
def test_mistakes_are_told(changes, told):
    given = {"plate": np.zeros((8, 8, 3), np.uint8), "frame": np.zeros((8, 8, 3), np.uint8)}
    with pytest.raises(UserError, match=told):
        alignment.align(**(given | changes))
