"""jaxmatte: image matting in JAX. Papers replicated exactly, trained at any scale."""

__version__ = "0.1.0"
