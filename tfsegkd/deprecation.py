"""Old names that still work, with a warning that says the new one."""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a module some of whose public names were renamed.

    Args:
        module: The module's `__name__`.
        names: The new name of each old one.

    Example:
        __getattr__ = renamed_names(__name__, {"Frames": "TrainingData"})
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
        _warn(f"{module}.{name} is now called {module}.{names[name]}.")
        return getattr(sys.modules[module], names[name])

    return __getattr__


def renamed_arguments(**names: str) -> Callable[[Function], Function]:
    """Decorates a function or a class some of whose keyword arguments were renamed.

    Args:
        names: The new name of each old one.

    Raises:
        TypeError: from the decorated function, where an argument is passed by both names.

    Example:
        @renamed_arguments(taps="layers")
        def record(layers): ...
    """

    def decorate(function: Any) -> Any:
        if isinstance(function, type):
            function.__init__ = decorate(function.__init__)
            return function

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            for old in kwargs.keys() & names.keys():
                new = names[old]
                if new in kwargs:
                    raise TypeError(f"{function.__qualname__}() got {new!r} and its old name {old!r}.")
                _warn(f"The argument {old!r} of {function.__qualname__}() is now called {new!r}.")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def renamed(attribute: property | Callable) -> property | Callable:
    """Returns a method or property that warns and then does what `attribute` does.

    Args:
        attribute: The attribute under its new name.

    Example:
        class Term:
            @property
            def layers(self): ...

            taps = renamed(layers)
    """
    function = attribute.fget if isinstance(attribute, property) else attribute

    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        _warn(f"This attribute of {type(self).__name__} is now called {function.__name__!r}.")
        current = getattr(self, function.__name__)
        return current if isinstance(attribute, property) else current(*args, **kwargs)

    return property(wrapper) if isinstance(attribute, property) else wrapper


def _warn(message: str) -> None:
    # A FutureWarning, because Python shows it to users; Python hides a DeprecationWarning.
    warnings.warn(message, FutureWarning, stacklevel=3)
