"""The forms of grouped convolutions in a .tflite: finds them and writes them in another form."""

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from tfsegkd.grouping.dense_form import block_mask, compact, spread
from tfsegkd.runtime.model_file import Editor, schema

FORMS = ("grouped", "split", "dense")
# The delegate splits a tensor into no more parts than this, and joins no more.
_MAX_PARTS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """A grouped convolution of a .tflite.

    Args:
        editor: The file it is in.
        operator: Its operation there.
        kernel: (Cout, height, width, Cin / groups).
        groups: Its groups.
    """

    editor: Editor
    operator: schema.OperatorT
    kernel: np.ndarray
    groups: int

    @property
    def tensors(self) -> list[int]:
        """Input, kernel, bias if it has one, output."""
        return [int(tensor) for tensor in (*self.operator.inputs, *self.operator.outputs) if tensor >= 0]

    @property
    def name(self) -> str:
        return self.editor.name(self.tensors[-1])

    @property
    def kind(self) -> tuple:
        """Equal for convolutions that take equal time."""
        options = vars(self.operator.builtinOptions)
        ends = (self.tensors[0], self.tensors[-1])
        shapes = [(self.editor.shape(tensor), self.editor.tensors[tensor].type) for tensor in ends]
        return (*shapes, self.kernel.shape, self.groups, *sorted(options.items()))


def forms(groups: int) -> tuple[str, ...]:
    """The forms that a convolution of so many groups can take."""
    return FORMS if _parts(groups) else tuple(form for form in FORMS if form != "split")


def find(editor: Editor) -> list[Convolution]:
    """The grouped convolutions of a network, those that are only by their weights included."""
    found = []
    for operator in editor.find("CONV_2D"):
        kernel = editor.values(int(operator.inputs[1]))
        if kernel is None:
            continue
        groups = editor.shape(int(operator.inputs[0]))[-1] // kernel.shape[-1]
        if groups == 1:
            groups = _hidden_groups(kernel)
            kernel = _regrouped(kernel, compact, groups)
        if groups > 1:
            found.append(Convolution(editor, operator, kernel, groups=groups))
    return found


def extract(convolution: Convolution) -> Convolution:
    """The convolution in a network of its own."""
    editor = convolution.editor.extract(convolution.operator)
    return dataclasses.replace(convolution, editor=editor, operator=editor.operators[0])


def write(editor: Editor, choices: Sequence[tuple[Convolution, str]]) -> None:
    """Puts convolutions of a network into the forms chosen."""
    for convolution, form in choices:
        operator = convolution.operator
        if form == "split":
            editor.replace(operator, *_split(convolution))
            continue
        kernel = convolution.kernel
        kernel = kernel if form == "grouped" else _regrouped(kernel, spread, convolution.groups)
        number = editor.add_like(convolution.tensors[1], kernel.shape, kernel)
        operator.inputs = [operator.inputs[0], number, *operator.inputs[2:]]
    editor.drop_unused()


def _split(convolution: Convolution) -> list[schema.OperatorT]:
    """The operations of the form 'split'."""
    editor, groups, parts = convolution.editor, convolution.groups, _parts(convolution.groups)
    data, kernel, *bias, output = convolution.tensors
    size = len(convolution.kernel) // groups
    before, inputs = _split_tensor(editor, data, parts)
    operators, outputs = [], []
    for group, number in enumerate(inputs):
        operator = copy.copy(convolution.operator)
        part = slice(group * size, (group + 1) * size)
        constants = [(kernel, convolution.kernel), *((tensor, editor.values(tensor)) for tensor in bias)]
        operator.inputs = [
            number,
            *(editor.add_like(like, all_[part].shape, all_[part], part=part) for like, all_ in constants),
        ]
        outputs.append(editor.add_like(output, (*editor.shape(output)[:-1], size)))
        operator.outputs = [outputs[-1]]
        operators.append(operator)
    return before + operators + _join(editor, outputs, output, parts=parts)


def _split_tensor(editor: Editor, tensor: int, parts) -> tuple[list, list[int]]:
    """Operations that split a tensor along its channels, a few parts at a time, and the tensors they give."""
    if not parts:
        return [], [tensor]
    *size, channels = editor.shape(tensor)
    outputs = [editor.add_like(tensor, (*size, channels // parts[0])) for _ in range(parts[0])]
    axis = f"axis;{len(editor.tensors) + 1}"
    axis = editor.add_tensor(axis, (), schema.TensorType.INT32, values=np.int32(3))
    options = schema.SplitOptionsT()
    options.numSplits = parts[0]
    operators = [editor.make("SPLIT", [axis, tensor], outputs, options, version=2)]
    leaves = []
    for output in outputs:
        more, found = _split_tensor(editor, output, parts[1:])
        operators += more
        leaves += found
    return operators, leaves


def _join(editor: Editor, tensors, output: int, parts) -> list[schema.OperatorT]:
    """Operations that put tensors together along their channels, in the tree in which they were split."""
    operators = []
    if len(parts) > 1:
        size = len(tensors) // parts[0]
        joined = []
        for start in range(0, len(tensors), size):
            *position, channels = editor.shape(output)
            joined.append(editor.add_like(output, (*position, channels // parts[0])))
            operators += _join(editor, tensors[start : start + size], joined[-1], parts=parts[1:])
        tensors = joined
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    return [*operators, editor.make("CONCATENATION", tensors, [output], options, version=2)]


def _parts(groups: int) -> list[int]:
    """Numbers up to 4 whose product is `groups`; none if there are none."""
    parts = []
    while groups > 1:
        largest = next((part for part in range(_MAX_PARTS, 1, -1) if groups % part == 0), None)
        if largest is None:
            return []
        parts.append(largest)
        groups //= largest
    return parts


def _hidden_groups(kernel: np.ndarray) -> int:
    """The most groups between which a dense kernel (Cout, height, width, Cin) is zero."""
    outputs, _, _, inputs = kernel.shape
    used = kernel.any((1, 2))
    common = math.gcd(inputs, outputs)
    for groups in range(common, 1, -1):
        if common % groups == 0 and used.any() and not used[~block_mask(inputs, outputs, groups).T].any():
            return groups
    return 1


def _regrouped(kernel: np.ndarray, function: Callable, groups: int) -> np.ndarray:
    """What a function for Keras' kernels, (height, width, Cin, Cout), makes of (Cout, height, width, Cin)."""
    return np.moveaxis(function(np.moveaxis(kernel, 0, -1), groups), -1, 0)
