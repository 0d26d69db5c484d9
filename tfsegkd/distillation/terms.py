"""What is distilled, between which layers, and how much it counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfsegkd import losses
from tfsegkd.spec import parse

LOGITS = "logits"


@dataclass(frozen=True)
class Term:
    """One part of the distillation loss.

    Args:
        loss: A loss, or its spec such as `'pixelwise(temperature=4)'`.
        weight: Its factor in the sum.
        at: (teacher tap, student tap), names of layers; None means the logits of both.

    Raises:
        ValueError: for an unknown loss, or a weight that is below 0 or not finite.
    """

    loss: losses.DistillationLoss | str
    weight: float = 1.0
    at: tuple[str, str] | None = None

    def __post_init__(self):
        # A frozen dataclass still has to read its spec once.
        object.__setattr__(self, "loss", losses.get(self.loss))
        if not 0 <= self.weight < float("inf"):
            raise ValueError(
                f"The weight of {self.name!r} must be a number that is not below 0. Received: {self.weight}."
            )

    @property
    def name(self) -> str:
        """What the term is called in logs: the loss, and where it looks unless at the logits."""
        return self.loss.name if self.at is None else f"{self.loss.name}_{self.at[1]}"

    @property
    def taps(self) -> tuple[str, str]:
        return self.at or (LOGITS, LOGITS)


def parse_terms(specs: Sequence[str]) -> list[Term]:
    """Reads the values of `--distill`, such as `'pairwise@aspp:context*0.5'`.

    Raises:
        ValueError: for a spec that cannot be read, or two terms with the same loss and tap.
    """
    terms = [Term(losses.get(spec), spec.weight, spec.at) for spec in map(parse, specs)]
    check_names(terms)
    return terms


def check_names(terms: Sequence[Term]) -> None:
    """Refuses terms that a log could not tell apart.

    Raises:
        ValueError: for two terms of one name.
    """
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Two terms are called {twice}. Give each loss and student tap once, with one weight."
        )
