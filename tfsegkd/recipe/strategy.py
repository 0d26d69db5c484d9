"""Training on several devices or machines with `tf.distribute`."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfsegkd import atomic, checks

STRATEGIES = ("none", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The workers that train together.

    Batches are divided between all replicas, so that batch size, learning rate and result do not depend on
    the number of devices. Every worker runs the same program; only the chief writes files.

    Args:
        strategy: The strategy of `tf.distribute`; None for this process on one device.
        chief: Whether this process is the one that writes.
        count: The number of processes.

    Example:
        recipe.Workers().chief  # True
    """

    strategy: tf.distribute.Strategy | None = None
    chief: bool = True
    count: int = 1

    @contextlib.contextmanager
    def in_scope(self) -> Iterator[None]:
        """A context in which networks are built for all devices and only the chief writes files."""
        everywhere = self.strategy.scope() if self.strategy else contextlib.nullcontext()
        with everywhere, contextlib.nullcontext() if self.chief else atomic.nothing_kept():
            yield

    def barrier(self) -> None:
        """Waits for all workers."""
        if self.count > 1:
            here = self.strategy.run(lambda: tf.constant(1))
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, here, axis=None)

    def chief_first(self, make: Callable[[], Any]) -> Any:
        """Calls `make` on the chief first, so that the other workers find the files that it wrote."""
        if self.chief:
            made = make()
        self.barrier()
        return made if self.chief else make()


def open_workers(name: str = "none") -> Workers:
    """Returns the workers of a strategy; call it before TensorFlow computes anything.

    Args:
        name: 'none'; 'mirrored', all devices of this machine; or 'multi_worker', this process and the others
            that the variable TF_CONFIG names.

    Returns:
        The workers, of which this process is one.

    Raises:
        ValueError: for another name, or a TF_CONFIG that does not describe the cluster.

    Example:
        recipe.open_workers("none").count  # 1
    """
    checks.one_of(name, STRATEGIES, "strategy")
    if name == "none":
        return Workers()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Workers(tf.distribute.MirroredStrategy([device.name for device in devices]))
    workers, kind, index = _cluster()
    chief = (kind, index) == ("chief" if "chief" in workers else "worker", 0)
    return Workers(tf.distribute.MultiWorkerMirroredStrategy(), chief, count=sum(map(len, workers.values())))


def _cluster():
    """Returns the addresses by type of worker, and this worker's type and index."""
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG")
    try:
        config = json.loads(text or "")
        task = config["task"]
        workers = {kind: config["cluster"][kind] for kind in ("chief", "worker") if kind in config["cluster"]}
        kind, index = task["type"], int(task["index"])
        if not 0 <= index < len(workers[kind]):
            raise ValueError(f"no {kind} {index}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`strategy=multi_worker` needs the variable TF_CONFIG, which describes the cluster. Expected, "
            f"for example, {example}, with its own index for each worker. Received: {text!r} ({error})."
        ) from None
    return workers, kind, index
