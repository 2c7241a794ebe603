"""Trimaps for networks that take one, by a network that was trained to make them."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxmatte import inference, papers
from jaxmatte.engine import state, steps
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.evaluate import loading


class Segmenter:
    """BiSeNet V2 with three classes, from the working directory of its training.

    A trimap-based paper becomes trimap-free: picture -> classes -> trimap -> matte.
    """

    def __init__(self, workdir: str, widen: int, parallel: Parallel):
        """Reads the best checkpoint.

        Args:
            workdir: The working directory.
            widen: Pixels by which the unknown is widened.
            parallel: Where pictures are.
        """
        folder = pathlib.Path(workdir)
        config = loading.recorded(folder)
        if config.paper != "bisenetv2" or config.model.classes != 3:
            raise UserError(
                f"evaluation.segmenter.workdir={workdir!r} is a run of {config.name}; take one of "
                "configs/bisenetv2.py:task=trimap"
            )
        model, variables, step = loading.load(config, folder)
        self._state = parallel.place(state.frozen(variables, step))
        to_trimap: Any = getattr(papers.module(config.paper), "trimap")  # noqa: B009
        segment = functools.partial(_segment, model=model, to_trimap=to_trimap, widen=widen)
        self._segment = parallel.compile_rows(segment)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Pictures [B,H,W,3], as the loader gives them -> trimaps [B,H,W,1] in {0, 0.5, 1}."""
        found: jax.Array = self._segment(self._state, images)
        return found


def _segment(
    frozen: state.TrainState,
    images: jax.Array,
    *,
    model: nn.Module,
    to_trimap: Callable[[jax.Array, int], jax.Array],
    widen: int,
) -> jax.Array:
    def predict(image: jax.Array) -> dict[str, Any]:
        outputs: Any = model.apply(frozen.variables, image, train=False)
        return outputs

    pictures = steps.decode({"image": images})["image"]
    return to_trimap(inference.direct(predict, pictures, output="probability"), widen)
