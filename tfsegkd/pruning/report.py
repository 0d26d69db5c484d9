"""The report of channel pruning."""

from dataclasses import dataclass, field

from tfsegkd.graph import Cost


@dataclass(frozen=True)
class PruningReport:
    """What `prune_channels` did.

    Args:
        changed: Whether anything was removed.
        target: The target asked for.
        importance, scope, round_to, seed: The settings.
        before, after: What the networks cost.
        kept: Layer name → the output channels of the dense network that the layer keeps. A layer that is
            called on different channels, such as a ReLU used twice, is left out.
        frozen: First layer of a group of channels → why none of them could go.
        compensated: Whether the means of removed channels went into biases.
        recalibrated: How many BatchNorms have new statistics.
        latency_ms: The median latencies of the dense and the pruned network, for a latency target.
        arm_instructions: The instructions of both on an Arm core, counted on their files, for such a target.

    Example:
        pruned, report = pruning.prune_channels(student, "macs:0.5", "l1")
        report.after.macs <= report.before.macs / 2  # True
        print(report)
    """

    changed: bool
    target: str
    importance: str
    scope: str
    round_to: int
    seed: int
    before: Cost
    after: Cost
    kept: dict[str, tuple[int, ...]]
    frozen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    compensated: bool = False
    recalibrated: int = 0
    latency_ms: tuple[float, float] | None = None
    arm_instructions: tuple[int, int] | None = None

    def __str__(self):
        before, after = self.before, self.after
        lines = [
            f"pruned to {self.target} by {self.importance} ({self.scope}, multiples of {self.round_to})"
            if self.changed
            else f"nothing to prune for {self.target}",
            f"  MACs        {before.macs:>14,} → {after.macs:,} ({_share(after.macs, before.macs)})",
            f"  parameters  {before.parameters:>14,} → {after.parameters:,} "
            f"({_share(after.parameters, before.parameters)})",
        ]
        if self.latency_ms:
            dense, pruned = self.latency_ms
            lines.append(f"  latency     {dense:>11.2f} ms → {pruned:.2f} ms ({_share(pruned, dense)})")
        if self.arm_instructions:
            dense, pruned = self.arm_instructions
            lines.append(f"  on Arm      {dense:>14,} → {pruned:,} instructions ({_share(pruned, dense)})")
        return "\n".join(lines)


def _share(part, whole):
    return f"{part / whole:.1%}" if whole else "–"
