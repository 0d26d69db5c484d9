"""The flag language: what it reads, what it refuses, and that nothing else can happen."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfsegkd.spec import Spec, parse, parse_named

# The same examples every time, and no time limit: a busy machine is no fault of the parser's.
fixed = settings(derandomize=True, deadline=None, max_examples=300)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("pixelwise", Spec("pixelwise")),
        ("pixelwise(temperature=4)*0.5", Spec("pixelwise", {"temperature": 4}, weight=0.5)),
        ("pairwise@aspp:context*0.5", Spec("pairwise", at=("aspp", "context"), weight=0.5)),
        ("hint@stage4", Spec("hint", at=("stage4", "stage4"))),
        (" a ( b = c , d='e f' ) @ g : h * 2 ", Spec("a", {"b": "c", "d": "e f"}, ("g", "h"), 2.0)),
        ("a()", Spec("a")),
        ("a(b=None, c=True, d=-1.5, e=[1, 2], f=(3, 4))", None),
        ("a(b='x)@y:z*3')", Spec("a", {"b": "x)@y:z*3"})),
        ("folder:data/some-set_2", Spec("folder:data/some-set_2")),
        ("a*-2e-3", Spec("a", weight=-0.002)),
        ("a@block.1/relu:x", Spec("a", at=("block.1/relu", "x"))),
        ("a*2*b(c=3)", Spec("a", weight=2.0, schedule=(Spec("b", {"c": 3}),))),
        ("a*b(c=3)", Spec("a", schedule=(Spec("b", {"c": 3}),))),
        (
            " a ( b = 4 ) @ c : d * 0.5 * warm_up( steps = 2 ) * stop() ",
            Spec("a", {"b": 4}, ("c", "d"), 0.5, (Spec("warm_up", {"steps": 2}), Spec("stop"))),
        ),
        ("a(b='*2)*(c')*d(e=(1, 2))", Spec("a", {"b": "*2)*(c"}, schedule=(Spec("d", {"e": (1, 2)}),))),
        (r"a(b='\')*2')*3", Spec("a", {"b": "')*2"}, weight=3.0)),
        ("a@it's*2", Spec("a", at=("it's", "it's"), weight=2.0)),
    ],
)
def test_reads(text, spec):
    spec = spec or Spec("a", {"b": None, "c": True, "d": -1.5, "e": [1, 2], "f": (3, 4)})
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not have that form"),
        ("4u", "does not have that form"),
        ("a b", "does not have that form"),
        ("a*", "does not have that form"),
        ("a@", "does not have that form"),
        ("a*2@b", "does not have that form"),
        ("a@b:c:d", "is not 'teacher_layer:student_layer'"),
        ("a@b:", "is not 'teacher_layer:student_layer'"),
        ("a@ ", "is not 'teacher_layer:student_layer'"),
        ("a(b", "does not have that form"),
        ("a(b=)", "cannot be read as arguments"),
        ("a(b=1)(c=2)", "cannot be read as arguments"),
        ("a(4)", "arguments need a name"),
        ("a(**b)", "arguments need a name"),
        ("a(b=c())", "neither a word"),
        ("a(b=c.d)", "neither a word"),
        ("a(b=[c])", "neither a word"),
        ("a(b=__import__('os'))", "neither a word"),
        ("a*x", "the weight 'x' is not a number"),
        ("a*2*3", "'3' is not a schedule"),
        ("a*b()*2", "'2' is not a schedule"),
        ("a*b()*c", "'c' is not a schedule"),
        ("a*b()@c", "is not a schedule"),
        ("a*b(4)", "arguments need a name"),
        ("a*b(", "does not have that form"),
        ("a*b()*", "does not have that form"),
        ("a*nan", "is not finite"),
        ("a*1e999", "is not finite"),
    ],
)
def test_refuses(text, why):
    with pytest.raises(
        ValueError,
        match=r"Cannot read .*name\(key=value\)@teacher_layer:student_layer\*weight\*schedule\(key=value\)",
    ) as error:
        parse(text)
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("unet(width=8", r"a '\)' is missing"),
        ("unet(width=8))", "cannot be read as arguments"),
        ("unet*2", "does not have that form"),
        ("unet@stride4", "does not have that form"),
        ("unet,fcn", "does not have that form"),
        ("", "does not have that form"),
        ("folder(data_dir=/x)", "cannot be read as arguments"),
    ],
)
def test_networks_and_data_sets_have_neither_layers_nor_weights(text, why):
    with pytest.raises(ValueError, match=rf"Expected NAME or NAME\(option=value, …\).*{why}"):
        parse_named(text)
    assert parse_named("unet(width=8)") == Spec("unet", {"width": 8})


@fixed
@given(st.text() | st.text(alphabet="ab4 ()=,'\"@:*.-[]{}#\\\n\0", max_size=30))
@example("a(" + "(" * 5000 + ")" * 5000 + ")")
@example("a(b=" + "-" * 5000 + "1)")
@example("a(b=" + "[" * 150 + "]" * 150 + ")")
@example("a(b=" + "9" * 5000 + ")")
@example("a(b={[]: 1})")
@example("a(b='\ud800')")
def test_any_text_is_read_or_refused(text):
    try:
        spec = parse(text)
    except ValueError:
        return
    assert spec.name


# Words of Python, such as None and in, are not words of the language.
words = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).map(lambda word: word + "_x")
layer_names = st.from_regex(r"[A-Za-z0-9_./-]{1,10}", fullmatch=True)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
literals = numbers | st.booleans() | st.none() | st.text(st.characters(exclude_categories=["Cs"]))
values = words | literals | st.lists(literals, max_size=3) | st.tuples(literals, literals)


def written(spec, bare_words):
    text = spec.name
    if spec.arguments:
        bare = {key: value if key in bare_words else repr(value) for key, value in spec.arguments.items()}
        text += "(" + ", ".join(f"{key}={value}" for key, value in bare.items()) + ")"
    if spec.at:
        text += "@" + ":".join(spec.at)
    factors = [repr(spec.weight)]
    for factor in spec.schedule:
        inside = ", ".join(f"{key}={value!r}" for key, value in factor.arguments.items())
        factors.append(f"{factor.name}({inside})")
    return "*".join([text, *factors])


@fixed
@given(
    st.builds(
        Spec,
        words,
        st.dictionaries(words, values, max_size=3),
        st.none() | st.tuples(layer_names, layer_names),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.builds(Spec, words, st.dictionaries(words, literals, max_size=2)), max_size=2).map(tuple),
    ),
    st.dictionaries(words, words, max_size=2),
)
def test_what_is_written_is_read_back(spec, bare_words):
    spec.arguments.update(bare_words)
    assert parse(written(spec, bare_words)) == spec
