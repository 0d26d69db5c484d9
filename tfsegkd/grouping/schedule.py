"""The schedule by which a network becomes grouped."""

import math

from tfsegkd import checks
from tfsegkd.graph.callbacks import NetworkCallback
from tfsegkd.grouping.assignment import assign_channels
from tfsegkd.grouping.gradual import alpha, set_alpha

SHAPES = {
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: (1.0 + math.cos(math.pi * share)) / 2,
    "cubic": lambda share: (1.0 - share) ** 3,
}


class GradualGroupingSchedule(NetworkCallback):
    """Takes the weights between groups to 0 as the training goes on.

    After n steps of the optimizer `alpha` is 1 for n ≤ begin and 0 for n ≥ end, whenever and wherever those
    steps were made: a training that goes on from a checkpoint goes on here, too. `alpha` is in the logs of
    every epoch.

    Args:
        begin, end: Steps of the optimizer. With begin = end = 0 the network is grouped from the first step.
        shape: The way between: 'linear'; 'cosine', slow at both ends; 'cubic', fast at first.
        assign: Whether `assign_channels` chooses the groups at `begin`, from the weights learned until then.

    Raises:
        ValueError: for steps that are not 0 ≤ begin ≤ end; an unknown shape; from `fit`, if the network has
            no gradual layer.

    Example:
        callbacks = [grouping.GradualGroupingSchedule(begin=0, end=400)]  # of fit

    Reference:
        Vallurupalli et al. 2018, https://arxiv.org/abs/1806.08522, section III.
        Reconstruction: the paper gives no shape. 'cubic' is that of Zhu and Gupta's gradual pruning,
        https://arxiv.org/abs/1710.01878.
    """

    def __init__(self, begin: int, end: int, shape: str = "linear", assign: bool = False):
        super().__init__()
        whole = all(isinstance(step, int) and not isinstance(step, bool) for step in (begin, end))
        if not whole or not 0 <= begin <= end:
            raise ValueError(f"Steps must be whole numbers, 0 ≤ begin ≤ end. Received: {begin!r}, {end!r}.")
        self.begin, self.end = begin, end
        self.shape = checks.one_of(shape, SHAPES, "shape")
        self.assign = assign
        self.assignment = None  # what `assign_channels` reported

    def alpha_after(self, steps: int) -> float:
        """The factor of the weights between groups once so many steps are done."""
        if steps >= self.end:
            return 0.0
        if steps <= self.begin:
            return 1.0
        return SHAPES[self.shape]((steps - self.begin) / (self.end - self.begin))

    def on_train_begin(self, logs=None):
        self._now = alpha(self.network)
        self._update()

    def on_train_batch_end(self, batch, logs=None):
        self._update()

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["alpha"] = self._now

    def _update(self):
        steps = int(self.model.optimizer.iterations)
        # At 1 the network is still dense, and where its groups lie can be chosen.
        if self.assign and self.assignment is None and self._now == 1.0 and steps >= self.begin:
            self.assignment = assign_channels(self.network)
        target = self.alpha_after(steps)
        if target != self._now:
            set_alpha(self.network, target)
            self._now = target
