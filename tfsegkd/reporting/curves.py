"""Learning curves, read from TensorBoard's files."""

from pathlib import Path

# Values by name, each by the number of epochs.
Curves = dict[str, dict[int, float]]

_PREFIX = "epoch_"


def read_curves(logs: Path) -> Curves:
    """Reads the logs of Keras' TensorBoard callback by epoch; validation values start with `val_`.

    For an epoch that was repeated after an interruption, the second value is used.

    Args:
        logs: The directory of the callback; it need not exist.
    """
    curves = _read(logs / "train", "")
    return curves | _read(logs / "validation", "val_")


def _read(directory: Path, prefix: str) -> Curves:
    if not directory.is_dir():
        return {}
    # Imported here, because they take a second and only reports need them.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        if tag.startswith(_PREFIX):
            values = sorted(events.Tensors(tag), key=lambda event: event.wall_time)
            by_epoch = {event.step + 1: float(make_ndarray(event.tensor_proto)) for event in values}
            found[prefix + tag.removeprefix(_PREFIX)] = dict(sorted(by_epoch.items()))
    return found
