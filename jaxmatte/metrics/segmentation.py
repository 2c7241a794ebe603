"""Mean intersection over union: of class numbers, and of mattes cut at one half."""

import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics.pair import prepare


def confusion(
    prediction: np.ndarray, truth: np.ndarray, classes: int, ignore: int = 255
) -> np.ndarray:
    """How often each class was taken for which: int64 `[true class, predicted class]`.

    Matrices of several pictures are added up before `iou` or `miou` is taken of them.

    Args:
      prediction: class numbers, of any shape.
      truth: the true ones, of the same shape.
      classes: how many there are; their numbers are 0 .. classes - 1.
      ignore: where the truth is this number nothing counts, whatever the prediction.
    """
    if prediction.shape != truth.shape:
        raise UserError(
            f"metrics: the prediction is {prediction.shape} but the truth is {truth.shape}; resize "
            "one to the other's size"
        )
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"metrics: the {name} holds class numbers, not {labels.dtype}")
    counted = truth != ignore
    true, predicted = (labels[counted].astype(np.int64) for labels in (truth, prediction))
    for name, labels in (("prediction", predicted), ("truth", true)):
        if labels.size and not (labels.min() >= 0 and labels.max() < classes):
            raise UserError(
                f"metrics: the {name} has class numbers from {labels.min()} to {labels.max()}; "
                f"with {classes} classes they are 0..{classes - 1}, and {ignore} does not count"
            )
    pairs = np.bincount(classes * true + predicted, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(np.int64)


def iou(confusion: np.ndarray, extra: int = 0) -> np.ndarray:
    """Intersection over union of each class, float64 `[C]`; NaN where a class occurs nowhere.

    Args:
      confusion: the matrix `[C, C]`.
      extra: what is added to each union. Some published evaluation code adds 1, so that nothing
        is divided by 0; a class that occurs nowhere then measures 0, and counts in the mean.
    """
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion) + extra
    return np.divide(hit, union, out=np.full(hit.shape, np.nan), where=union > 0)


def miou(confusion: np.ndarray, extra: int = 0) -> float:
    """Mean of `iou` over the classes that occur in truth or prediction; 0 where none does."""
    values = iou(confusion, extra)
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if occurring.size else 0.0


def matte_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean IoU of background and foreground of two mattes `[H, W]`, cut at an alpha above 0.5."""
    pair = prepare(prediction, truth, protocol="modnet")
    half = 127 if pair.is_bytes else 0.5
    predicted, true = ((matte > half).astype(np.uint8) for matte in (pair.prediction, pair.truth))
    return miou(confusion(predicted, true, 2))
