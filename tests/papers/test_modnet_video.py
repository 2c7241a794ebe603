"""OFD: exactly the reference's, whole and as a stream."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.errors import UserError
from jaxmatte.papers.modnet import video

PARITY = pathlib.Path(__file__).parent.parent / "parity"


@pytest.fixture(name="film", scope="module")
def _film():
    with np.load(PARITY / "modnet_losses.npz") as file:
        return file["ofd_in"], file["ofd_out"]


def test_flicker_goes_exactly_as_published(film):
    given, wanted = film
    assert 0.05 < (given != wanted).mean() < 0.2
    before = given.copy()
    np.testing.assert_array_equal(video.one_frame_delay(given), wanted)
    np.testing.assert_array_equal(given, before)
    compiled = jax.jit(video.one_frame_delay)(jnp.asarray(given)[..., None])
    np.testing.assert_array_equal(compiled[..., 0], wanted)


def test_a_stream_lags_one_frame(film):
    given, wanted = film
    taken = []

    def frames():
        for number, frame in enumerate(given):
            taken.append(number)
            yield frame

    for number, frame in enumerate(video.one_frame_delay_stream(frames())):
        np.testing.assert_array_equal(frame, wanted[number])
        assert taken[-1] == min(number + 1, len(given) - 1)
    assert number == len(given) - 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_films_stay(film, count):
    given = film[0][:count]
    np.testing.assert_array_equal(video.one_frame_delay(given), given)
    assert len(list(video.one_frame_delay_stream(given))) == count


def test_the_threshold_bounds_both_conditions():
    frames = np.array([0.25, 0.75, 0.375])[:, None, None]
    assert video.one_frame_delay(frames, threshold=0.125)[1] == 0.3125
    for threshold in (0.12, 0.375):  # neighbours too far apart; the middle too near to one
        assert video.one_frame_delay(frames, threshold=threshold)[1] == 0.75


def test_bytes_are_refused():
    with pytest.raises(UserError, match="uint8"):
        video.one_frame_delay(np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(UserError, match="frames"):
        video.one_frame_delay(np.zeros((4, 4)))
