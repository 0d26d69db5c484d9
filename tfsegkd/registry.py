"""Registries of builders by name; errors list the choices."""

import inspect
from collections.abc import Callable
from typing import Any

from tfsegkd.checks import did_you_mean
from tfsegkd.spec import Spec, parse_named


class Registry:
    """Maps the tokens of the flag language to what they build.

    Args:
        kind: What is registered, for messages: "loss", "model", "data set".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable:
        """Returns a decorator that registers a class or function under `name`."""

        def add(builder):
            if name in self._builders:
                raise ValueError(f"Two builders registered for {self.kind} {name!r}.")
            self._builders[name] = builder
            return builder

        return add

    def names(self) -> list[str]:
        return sorted(self._builders)

    def describe(self) -> dict[str, str]:
        """A one-sentence description of each name: the first line of its docstring."""
        return {name: _summary(self._builders[name]) for name in self.names()}

    def builder(self, name: str) -> Callable[..., Any]:
        """Returns the builder registered under `name`.

        Raises:
            ValueError: if there is none; the message lists the choices.
        """
        if name not in self._builders:
            hint = did_you_mean(name, self.names())
            raise ValueError(f"Unknown {self.kind} {name!r}. Expected one of {self.names()}.{hint}")
        return self._builders[name]

    def build(self, spec: str | Spec, **extra) -> Any:
        """Builds what `spec` names, its arguments joined by `extra`.

        Raises:
            ValueError: for an unknown name, or for arguments that the builder does not take.
        """
        spec = parse_named(spec) if isinstance(spec, str) else spec
        builder = self.builder(spec.name)
        signature = inspect.signature(builder)
        try:
            signature.bind(**spec.arguments, **extra)
        except TypeError as error:
            choices = [name for name in signature.parameters if name not in extra]
            raise ValueError(
                f"Wrong arguments for {self.kind} {spec.name!r}: {error}. Expected a choice of "
                f"{choices}, received {spec.arguments}."
            ) from None
        try:
            return builder(**spec.arguments, **extra)
        except ValueError as error:
            option, is_option, rest = str(error).partition(" must be ")
            if not is_option or option not in spec.arguments:
                raise
            raise ValueError(f"{option} of {self.kind} {spec.name!r} must be {rest}") from None


def _summary(builder) -> str:
    return (inspect.getdoc(builder) or "").partition("\n")[0]
