"""Every metric of a matte, measured from one preparation."""

import difflib
from collections.abc import Callable, Sequence

import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics.connectivity import conn_of
from jaxmatte.metrics.gradient import grad_of
from jaxmatte.metrics.matting import mad_of, mse_of, sad_of
from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import Protocol

# In the order in which tables have them.
METRICS: dict[str, Callable[[Pair], float]] = {
    "sad": sad_of,
    "mse": mse_of,
    "mad": mad_of,
    "grad": grad_of,
    "conn": conn_of,
}


def measure(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, float]:
    """Measures a matte `[H, W]`, bytes or floats in 0..1, against its truth.

    Args:
      prediction: the matte.
      truth: what it should be, of the same size.
      trimap: uint8 in {0, 128, 255} or float in {0, .5, 1}, or None.
      protocol: a name or a record.
      metrics: names out of `METRICS`.

    Returns:
      A number a metric, in the order asked for. A region without a pixel measures 0.
    """
    require(metrics)
    pair = prepare(prediction, truth, trimap, protocol)
    return {name: METRICS[name](pair) for name in metrics}


def require(metrics: Sequence[str], known: Sequence[str] = tuple(METRICS)) -> None:
    """Says which metrics there are, where one is asked for that is not."""
    for name in metrics:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0)
            raise UserError(
                f"metrics: no metric {name!r}; did you mean {near[0]!r}? There are "
                f"{', '.join(known)}"
            )
