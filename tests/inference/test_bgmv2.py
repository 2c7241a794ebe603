"""BGMv2's rule: padding, cropping, and what comes back; the network is a stand-in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxmatte import inference, papers
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import abstract_variables

RULE = inference.get("bgmv2")
SIDES = ((32, 2048), (2047, 33), (63, 101), (1001, 767), (2048, 1999), (32, 35))


class StandIn:
    """A network whose matte is the difference of picture and plate; it keeps what it was shown."""

    def __init__(self):
        self.shown = None

    def __call__(self, image, plate):
        self.shown = (image, plate)
        difference = jnp.abs(image - plate)
        return {"alpha": difference.mean(-1, keepdims=True), "foreground": image}


def pictures(height=45, width=70):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.random((2, height, width, 3), np.float32)) for _ in range(2))


@pytest.mark.parametrize(("refine", "sides"), [("none", (45, 70)), ("sampling", (48, 72))])
def test_pictures_are_mirrored_to_whole_cells_and_cropped(refine, sides):
    network, (image, plate) = StandIn(), pictures()
    alpha = RULE(network, image, plate, refine=refine)
    np.testing.assert_array_equal(alpha, jnp.abs(image - plate).mean(-1, keepdims=True))
    more = ((0, 0), (0, sides[0] - 45), (0, sides[1] - 70), (0, 0))
    for shown, given in zip(network.shown, (image, plate), strict=True):
        np.testing.assert_array_equal(shown, np.pad(given, more, mode="reflect"))


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_size_comes_back_as_it_was(height, width):
    for refine, multiple in (("none", 1), ("thresholding", 4)):
        network = StandIn()
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        rule = lambda x, y, n=network, r=refine: RULE(n, x, y, refine=r)  # noqa: E731
        assert jax.eval_shape(rule, image, image).shape == (1, height, width, 1)
        assert not any(side % multiple for side in network.shown[0].shape[1:3])


@pytest.mark.parametrize("refine", ["none", "sampling"])
def test_the_network_takes_what_the_rule_gives_it(refine):
    model = papers.build("bgmv2", refine=refine, width=0.25)
    variables = unflatten_dict(abstract_variables(model))

    def run(variables, image, plate):
        network = lambda *inputs: model.apply(variables, *inputs, train=False)  # noqa: E731
        return RULE(network, image, plate, refine=refine, output="foreground")

    image = jax.ShapeDtypeStruct((1, 33, 2047, 3), jnp.float32)
    assert jax.eval_shape(run, variables, image, image).shape == image.shape


def test_levels_and_mistakes():
    image, plate = pictures()
    exact = RULE(StandIn(), image, plate)
    cut = RULE(StandIn(), image, plate, levels="truncate")
    np.testing.assert_array_equal(cut, jnp.floor(exact * 255) / 255)
    with pytest.raises(UserError, match="levels 'ceil'"):
        RULE(StandIn(), image, plate, levels="ceil")
    assert "bgmv2" in inference.SAME_SIZE
