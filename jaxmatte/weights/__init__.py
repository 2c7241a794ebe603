"""Published weights: reading their files, and converting their names and layouts to ours."""

from jaxmatte.weights.convert import convert, merge
from jaxmatte.weights.read import read

__all__ = ["convert", "merge", "read"]
