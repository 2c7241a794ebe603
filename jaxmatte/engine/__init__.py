"""The engine: what a step is, how it is compiled, kept, and reported."""
