"""BiSeNet V2's test-time rules on a stand-in network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import inference, resampling
from jaxmatte.errors import UserError
from jaxmatte.inference import bisenetv2 as rules

NAMES = tuple(rules.RULES)


def network(classes, shown):
    """A network whose logits are colours, not evenly; it keeps the sizes that it was shown."""

    def predict(image):
        assert image.shape[1] % 32 == image.shape[2] % 32 == 0
        shown.append(image.shape[1:3])
        ramp = jnp.linspace(0, 3, image.shape[2])[:, None]
        return {"logits": 5 * jnp.tile(image, (1, 1, 1, 7))[..., :classes] + ramp * image[..., :1]}

    return predict


def picture(height, width):
    return np.random.default_rng(0).random((1, height, width, 3)).astype(np.float32)


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(("name", "scale"), [("bisenetv2", 1.0), ("bisenetv2_half", 0.5)])
def test_one_pass_is_resized_there_and_back(name, scale):
    image, shown = picture(75, 100), []
    predict = network(3, shown)
    logits = inference.get(name)(predict, image, output="logits")
    size = (96, 128) if scale == 1.0 else (64, 64)
    assert shown == [size]
    expected = resampling.resize(
        np.asarray(predict(resampling.resize(image, size))["logits"]), (75, 100)
    )
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    probability = inference.get(name)(predict, image, output="probability")
    np.testing.assert_allclose(probability, softmax(expected), atol=1e-5)
    alpha = inference.get(name)(predict, image)
    np.testing.assert_allclose(alpha, probability[..., 2:] + 0.5 * probability[..., 1:2], atol=1e-6)


def test_several_sizes_and_mirrors_are_averaged_after_the_softmax():
    image, shown = picture(70, 100), []
    predict = network(2, shown)
    found = rules.bisenetv2_multiscale(predict, image, scales=(0.5, 1.0), output="probability")
    assert shown == [(64, 64), (96, 128)]
    parts = []
    for size in list(shown):
        for step in (1, -1):
            small = resampling.resize(image[:, :, ::step], size, "align_corners")
            logits = np.asarray(predict(small)["logits"])
            logits = resampling.resize(logits, (70, 100), "align_corners")
            parts.append(softmax(logits[:, :, ::step]))
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)
    single = rules.bisenetv2_multiscale(predict, image, scales=(1.0,), flip=False, output="logits")
    logits = np.asarray(predict(resampling.resize(image, (96, 128), "align_corners"))["logits"])
    logits = resampling.resize(logits, (70, 100), "align_corners")
    np.testing.assert_allclose(np.exp(single), softmax(logits), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "size", [(32, 32), (33, 97), (63, 64), (101, 2048), (2048, 45), (1023, 769), (2047, 2048)]
)
def test_any_size_comes_back(name, size):
    for classes, output, channels in ((2, "alpha", 1), (3, "probability", 3), (19, "logits", 19)):
        found = jax.eval_shape(
            lambda x, c=classes, o=output: inference.get(name)(network(c, []), x, output=o),
            jax.ShapeDtypeStruct((1, *size, 3), jnp.float32),
        )
        assert found.shape == (1, *size, channels)


@pytest.mark.parametrize("name", NAMES)
def test_mistakes_are_named(name):
    rule = inference.get(name)
    with pytest.raises(UserError, match="probability"):
        rule(network(2, []), picture(32, 32), output="probabilty")
    with pytest.raises(UserError, match="19 classes make no matte"):
        rule(network(19, []), picture(32, 32))
    assert name in inference.SAME_SIZE


def test_scales_make_sense():
    for scales in ((), (0.0, 1.0)):
        with pytest.raises(UserError, match="above 0"):
            rules.bisenetv2_multiscale(network(2, []), picture(32, 32), scales=scales)
