"""SAD, MSE and MAD on the device: as on the host, whatever the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.metrics.device import per_example
from tests.metrics.cases import gfm_case


def padded(array, height=170, width=210, fill=np.nan):
    out = np.full((height, width, 1), fill, np.float32)
    out[: array.shape[0], : array.shape[1], 0] = array
    return out


@pytest.mark.parametrize("protocol", list(metrics.PROTOCOLS))
@pytest.mark.parametrize("with_trimap", [True, False])
def test_device_agrees_with_host(protocol, with_trimap):
    """Two images of different size in one batch, NaN beyond their edges, and a padded row."""
    record = metrics.get(protocol)
    if not with_trimap and (record.needs_trimap or record.band):
        return
    cases = [gfm_case(number)[:3] for number in range(2)]
    size = np.array([*(case[0].shape for case in cases), (0, 0)])
    empty = np.zeros((0, 0))
    prediction, truth, trimap = (
        np.stack([padded(array) for array in (*column, empty)])
        for column in zip(*((p, t, m / 255) for p, t, m in cases), strict=True)
    )
    function = jax.jit(per_example, static_argnames="protocol")
    values = function(prediction, truth, trimap if with_trimap else None, size, protocol=protocol)
    for name, vector in values.items():
        assert vector.shape == (3,)
        host = [
            getattr(metrics, name)(p, t, m if with_trimap else None, protocol) for p, t, m in cases
        ]
        np.testing.assert_allclose(vector, [*host, 0.0], rtol=2e-6, err_msg=name)


def test_device_sum_of_a_megapixel():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((2, 1024, 1024)).astype(np.float32)
    values = per_example(
        jnp.asarray(prediction)[None, ..., None],
        jnp.asarray(truth)[None, ..., None],
        protocol="gfm",
    )
    for name in ("sad", "mse", "mad"):
        host = getattr(metrics, name)(prediction, truth, protocol="gfm")
        assert float(values[name][0]) == pytest.approx(host, rel=1e-6)


def test_overruled_pixels_count_where_the_trimap_is_wrong():
    """In gfm-transition a trimap's own mistake is summed, but the mean is over the transition."""
    truth = np.zeros((2, 3))
    prediction, trimap = np.full_like(truth, 0.5), np.zeros_like(truth)
    trimap[0, 0], trimap[1, 1] = 1, 0.5
    arrays = [jnp.asarray(array)[None, ..., None] for array in (prediction, truth, trimap)]
    device = per_example(*arrays, protocol="gfm-transition")
    for name, value in {"sad": 1.5 / 1000, "mse": 1.25, "mad": 1.5}.items():
        assert float(device[name][0]) == pytest.approx(value)


@pytest.mark.parametrize("protocol", ["dim", "modnet"])
def test_what_a_network_that_diverged_gives_measures_nan(protocol):
    """In its own row, and not in those beside it; what is beyond the true size may be anything."""
    truth = np.full((4, 8, 8, 1), 255, np.uint8)
    prediction = np.full(truth.shape, 0.5, np.float32)
    prediction[0, 3, 3], prediction[1, 3, 3], prediction[2, 7, 7] = np.nan, 7, np.nan
    size = np.array([[8, 8], [8, 8], [7, 8], [8, 8]])
    names = ("sad", "mse", "mad", "grad", "conn")
    for values in per_example(prediction, truth, None, size, protocol, names).values():
        assert np.isnan(values).tolist() == [True, True, False, False]


def test_mistakes_are_named_before_anything_runs():
    batch = np.zeros((1, 4, 4, 1), np.float32)
    for arrays, told in (
        ((batch[..., 0], batch[..., 0]), r"has shape \(1, 4, 4\)"),
        ((batch, batch[:, :3]), r"the truth has shape \(1, 3, 4, 1\)"),
        ((batch, batch.astype(np.int32)), "the truth is uint8 or float in 0..1, not int32"),
        ((batch, batch, batch > 0), "the trimap is uint8 or float in 0..1, not bool"),
    ):
        with pytest.raises(UserError, match=told):
            per_example(*arrays)
    with pytest.raises(UserError, match="did you mean 'mad'"):
        per_example(batch, batch, metrics=("mda",))
