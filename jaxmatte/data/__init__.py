"""Where examples come from: sources, composition, augmentation and the pipeline (no jax here)."""
