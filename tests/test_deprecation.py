"""Old names work, with a warning that says the new one."""

import inspect

import pytest
import tensorflow as tf

import tfsegkd
from tfsegkd import data, export, models, quantization, recipe, runtime
from tfsegkd.deprecation import renamed, renamed_arguments
from tfsegkd.distillation import Teacher, Term
from tfsegkd.recipe import Distill, Schedule


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (data, "survey", "dataset_statistics"),
        (data, "Survey", "DatasetStatistics"),
        (data, "UnlabelledFrames", "UnlabelledImages"),
        (models, "taps", "feature_layers"),
        (models, "begin_from", "initialize_from"),
        (recipe, "Frames", "TrainingData"),
        (recipe, "BorrowedTeacher", "PretrainedTeacher"),
    ],
)
def test_old_names_of_a_package(module, old, new):
    with pytest.warns(FutureWarning, match=rf"{old} .*\b{new}\b"):
        assert getattr(module, old) is getattr(module, new)
    assert old not in module.__all__


def test_a_name_that_never_was():
    with pytest.raises(AttributeError, match="nowhere"):
        data.nowhere  # noqa: B018


def test_old_arguments():
    @renamed_arguments(taps="layers")
    def record(layers, size=1):
        return layers, size

    with pytest.warns(FutureWarning, match=r"'taps' of .*'layers'"):
        assert record(taps=["logits"]) == (["logits"], 1)
    with pytest.raises(TypeError, match=r"'layers'.*'taps'"):
        record(["logits"], taps=["logits"], layers=[])
    with pytest.warns(FutureWarning, match="initialize_from"):
        stage = Distill("unet", Schedule(1, 0.1, 1), ["pixelwise"], begin_from="a.keras")
    assert stage.initialize_from == "a.keras"


def test_old_attributes():
    with pytest.warns(FutureWarning, match="'layers'"):
        assert Term("pixelwise", at=("a", "b")).taps == ("a", "b")

    class Own:
        def feature_extractor(self, names):
            return names

        taps = renamed(feature_extractor)

    with pytest.warns(FutureWarning, match="'feature_extractor'"):
        assert Own().taps(["a"]) == ["a"]


def test_a_teacher_that_implements_the_old_method():
    class Doubling(Teacher):
        def taps(self, names):
            return lambda images: {"logits": 2 * images}

    run = Doubling().feature_extractor(["logits"])
    assert float(run(tf.ones((1, 1, 1, 3)))["logits"][0, 0, 0, 0]) == 2
    assert "taps" not in tfsegkd.__all__


@pytest.mark.parametrize("function", [export.export_tflite, quantization.post_training, runtime.convert])
def test_images_that_show_ranges_have_one_name(function):
    assert "calibration" in inspect.signature(function).parameters
    assert "calibration" in inspect.signature(quantization.quantize).parameters
    with pytest.warns(FutureWarning, match="calibration"), pytest.raises(TypeError):
        function(representative_data=[], no_such_argument=1)
