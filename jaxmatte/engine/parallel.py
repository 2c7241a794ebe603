"""Devices and processes: the only room that names Mesh, NamedSharding, pmap or process_index.

One pure step, two compilers. `jit` over a mesh is one global program: batch statistics and losses
are those of the global batch. `pmap` is one program per device: with `model.bn_axis="data"` it
computes the same; without, each device normalises by its own share, as DataParallel did. Both take
and give the same unreplicated state.
"""

import collections
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxmatte import memory
from jaxmatte.errors import UserError

AXIS = "data"
MODES = ("jit", "pmap")
# One of these says that a scheduler started several processes which can find each other.
_SCHEDULERS = ("TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS", "OMPI_MCA_orte_hnp_uri")


def initialize() -> None:
    """Joins the other processes of the run, where there are any.

    `JAXMATTE_COORDINATOR=HOST:PORT`, `JAXMATTE_PROCESSES=N` and `JAXMATTE_PROCESS=I` name them (as
    launch/local_pod.sh does); `JAXMATTE_DISTRIBUTED=1`, a TPU pod, SLURM and Open MPI let JAX find
    them.
    """
    memory.keep(compiles=True)
    if jax.distributed.is_initialized():
        return
    coordinator = os.environ.get("JAXMATTE_COORDINATOR")
    if coordinator:
        try:
            count = int(os.environ["JAXMATTE_PROCESSES"])
            index = int(os.environ["JAXMATTE_PROCESS"])
        except (KeyError, ValueError) as error:
            raise UserError(
                "JAXMATTE_COORDINATOR is set, so JAXMATTE_PROCESSES and JAXMATTE_PROCESS must be "
                f"whole numbers: {error}"
            ) from None
        jax.distributed.initialize(coordinator, num_processes=count, process_id=index)
    elif _scheduled():
        jax.distributed.initialize()


def _scheduled() -> bool:
    if os.environ.get("JAXMATTE_DISTRIBUTED") == "1":
        return True
    several = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    workers = os.environ.get(_SCHEDULERS[0], "")
    return several or "," in workers or any(name in os.environ for name in _SCHEDULERS[1:])


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


class Parallel:
    """Places states and batches on all devices, and compiles steps for them."""

    def __init__(self, mode: str = "jit", batch: int | None = None):
        """Takes all devices of all processes.

        Args:
            mode: jit or pmap.
            batch: Examples a global batch, checked against the devices.
        """
        if mode not in MODES:
            raise UserError(f"parallel.mode={mode!r}; there are: {', '.join(MODES)}")
        self.mode = mode
        self.mesh = Mesh(np.array(jax.devices()), (AXIS,), axis_types=(AxisType.Auto,))
        self.process, self.processes = jax.process_index(), jax.process_count()
        self.devices = jax.device_count()
        self.axis_name = AXIS if mode == "pmap" else None
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self._gather = jax.jit(lambda rows: rows, out_shardings=self._replicated)
        if batch is not None and batch % self.devices:
            raise UserError(
                f"train.batch={batch} is not divisible by the {self.devices} devices; "
                f"the nearest that is: {max(round(batch / self.devices), 1) * self.devices}"
            )

    def describe(self) -> str:
        """One line about the devices."""
        kind = jax.devices()[0].device_kind
        return f"{self.devices} x {kind} in {self.processes} process(es), {self.mode}"

    def place(self, tree: Any) -> Any:
        """Puts a state on every device; each process gives the same."""
        return jax.tree.map(self._place_leaf, tree)

    def _place_leaf(self, leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == self._replicated:
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._place_leaf(np.asarray(jax.random.key_data(leaf)))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, self._replicated, lambda at: value[at])

    def abstract(self, tree: Any) -> Any:
        """Shapes of a state with where they belong, as a checkpoint is restored to."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._replicated),
            tree,
        )

    def create(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Computes a state on every device at once, from a pure function that runs only once."""
        # Hundreds of draws compile three times faster when the CPU's compiler does not optimise.
        hasty = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        compiled = jax.jit(function, out_shardings=self._replicated, compiler_options=hasty)
        return compiled(*arguments)

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Spreads a batch over the devices; each process gives its own rows."""
        return {
            name: jax.make_array_from_process_local_data(self._split, value)
            for name, value in batch.items()
        }

    def prefetch(
        self, batches: Iterable[dict[str, np.ndarray]], ahead: int = 1
    ) -> Iterator[dict[str, jax.Array]]:
        """Puts batches on the devices, `ahead` of the one in use."""
        waiting: collections.deque[dict[str, jax.Array]] = collections.deque()
        for batch in batches:
            waiting.append(self.put(batch))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def compile_train(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles `step(state, batch) -> (state, metrics)`; the state that goes in is used up.

        The step must be partial but for `axis_name`, which this sets.
        """
        if self.mode == "jit":
            return jax.jit(
                step,
                in_shardings=(self._replicated, self._split),
                out_shardings=(self._replicated, self._replicated),
                donate_argnums=0,
            )
        mapped = jax.pmap(
            lambda state, batch: step(state, batch, axis_name=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=(None, None),
        )

        def run(state: Any, batch: dict[str, jax.Array]) -> Any:
            return mapped(self._local(state), self._per_device(batch))

        return run

    def _per_device(self, batch: dict[str, jax.Array]) -> dict[str, np.ndarray | jax.Array]:
        """This process's rows as [local devices, rows of each, ...]."""
        devices = jax.local_device_count()

        def shape(value: jax.Array) -> jax.Array | np.ndarray:
            if self.processes > 1:
                local = sorted(value.addressable_shards, key=lambda shard: shard.index[0].start)
                return np.stack([np.asarray(shard.data) for shard in local])
            return value.reshape((devices, -1, *value.shape[1:]))

        return {name: shape(value) for name, value in batch.items()}

    def _local(self, state: Any) -> Any:
        """The state as pmap takes it: this process's own copy."""
        if self.processes == 1:
            return state
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), state)

    def compile_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles `step(state, batch) -> tree [B, ...]`, whose rows stay where they are made."""
        return jax.jit(
            step, in_shardings=(self._replicated, self._split), out_shardings=self._split
        )

    def own(self, tree: Any) -> Any:
        """Fetches this process's rows, in the order in which they were put."""

        def fetch(leaf: jax.Array) -> np.ndarray:
            shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return np.concatenate([np.asarray(shard.data) for shard in shards])

        return jax.tree.map(fetch, tree)

    def whole(self, rows: dict[str, jax.Array]) -> dict[str, np.ndarray]:
        """Fetches the rows [B, ...] of all devices and processes, in order, on every process."""
        fetched: dict[str, np.ndarray] = self.to_host(self._gather(rows))
        return fetched

    def globally(self, state: Any) -> Any:
        """The state as one global array a leaf, as checkpoints and evaluation want it."""
        return self.place(state)

    def to_host(self, tree: Any) -> Any:
        """Fetches arrays that are whole on every process."""
        return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), tree)

    def sum_over_processes(self, values: np.ndarray) -> np.ndarray:
        """Adds up float64 values that each process has its own of, without losing bits."""
        return self._of_all(values).sum(axis=0)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Joins the rows of all processes, float64 and as many from each, process after process."""
        return np.concatenate(list(self._of_all(rows)))

    def _of_all(self, values: np.ndarray) -> np.ndarray:
        """What each process has, [processes, ...] float64, to the bit."""
        values = np.ascontiguousarray(values, np.float64)
        if self.processes == 1:
            return values[None]
        # As words: JAX would round float64 to float32 on the way.
        return multihost_utils.process_allgather(values.view(np.uint32)).view(np.float64)

    def barrier(self, name: str) -> None:
        """Waits for all processes."""
        if self.processes > 1:
            multihost_utils.sync_global_devices(name)


class StopSignal:
    """Notices SIGTERM (and Ctrl-C), so that the loop can save and leave at a step all agree on."""

    def __init__(self, parallel: Parallel):
        self._distributed = parallel.processes > 1
        self._asked = threading.Event()
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # With several processes JAX itself listens for SIGTERM and tells them all.
        if threading.current_thread() is threading.main_thread() and not self._distributed:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _handle(self, number: int, frame: Any) -> None:
        self._asked.set()
        self._restore()  # a second Ctrl-C does what it always did

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop; other processes may not know yet."""
        return self._asked.is_set()

    def agreed(self, step: int) -> bool:
        """Whether to stop now; every process calls this at every step and gets the same answer."""
        if self._distributed:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.asked
