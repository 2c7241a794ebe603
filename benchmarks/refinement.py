"""Time of a frame by BGMv2's way to refine, and whether any frame is compiled for anew.

PYTHONPATH=. python benchmarks/refinement.py [--height=1080] [--width=1920] [--scale=0.25]
                                             [--pixels=80000] [--frames=5] [--encoder=mobilenet_v2]

Weights are random: no time depends on them, because no shape depends on what is chosen. Each frame
is another picture, so that other cells are chosen. A frame's time is the fastest one's; processor
time is that of all cores, and says the same where others use them too. One program is compiled for
all frames.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte import papers
from jaxmatte.engine import state

COMPILED = "/jax/core/compile/backend_compile_duration"
WAYS = {
    "none: the base network alone": {},
    "full": {"refine": "full"},
    "thresholding": {"refine": "thresholding"},
    "sampling, dense": {"refine": "sampling", "gather": False},
    "sampling, gathered": {"refine": "sampling", "gather": True},
}
COLUMNS = ("refinement", "compiling and first frame", "a frame", "its processor time", "programs")


def frames(count, height, width):
    """Pictures and their plate; every frame shows noise elsewhere."""
    rng = np.random.default_rng(0)
    plate = rng.random((1, height, width, 3), np.float32)
    for number in range(count):
        image, left = plate.copy(), width // 8 * (number % 4)
        image[:, :, left : left + width // 3] = rng.random((height, width // 3, 3), np.float32)
        yield jnp.asarray(image), jnp.asarray(plate)


def measure(fields, options):
    """Seconds and processor seconds of every frame, and the programs compiled meanwhile."""
    model = papers.build(
        "bgmv2",
        encoder=options.encoder,
        backbone_scale=options.scale,
        sample_pixels=options.pixels,
        **fields,
    )
    variables = jax.jit(lambda key: state.initial_variables(model, key))(jax.random.key(0))

    @jax.jit
    def run(variables, image, plate):
        outputs = model.apply(variables, image, plate, train=False)
        size = "" if fields else "coarse_"
        return outputs[f"{size}alpha"], outputs[f"{size}foreground"]

    compiled, seconds, used = [], [], []

    def listen(event, *_, **__):
        compiled.append(event == COMPILED)

    pictures = list(frames(options.frames + 1, options.height, options.width))
    jax.block_until_ready((variables, pictures))
    jax.monitoring.register_event_duration_secs_listener(listen)
    for image, plate in pictures:
        began, had = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(variables, image, plate))
        seconds.append(time.perf_counter() - began)
        used.append(time.process_time() - had)
    jax.monitoring.clear_event_listeners()
    return seconds, used, sum(compiled)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--scale", type=float, default=0.25)
    parser.add_argument("--pixels", type=int, default=80_000)
    parser.add_argument("--frames", type=int, default=5, help="after the first one")
    parser.add_argument("--encoder", default="mobilenet_v2")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    print(
        f"{options.encoder}, {options.width} x {options.height}, base network at {options.scale}, "
        f"{options.pixels:,} pixels refined, jax {jax.__version__} on {jax.devices()[0].platform}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name, fields in WAYS.items():
        (first, *rest), (_, *used), compiled = measure(fields, options)
        cells = [first, min(rest), min(used)]
        told = " | ".join(f"{value:.3f} s" for value in cells)
        print(f"| {name} | {told} | {compiled} |", flush=True)


if __name__ == "__main__":
    main()
