"""Untrusted files: no code in them runs."""

import contextlib
import json
import sys
import zipfile

import h5py
import numpy as np
import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.models import refuse_code

layers = keras.layers


def network(*extra):
    image = keras.Input((4, 6, 3), name="image")
    x = layers.Conv2D(2, 1, name="head")(image)
    for layer in extra:
        x = layer(x)
    return keras.Model(image, x)


def changed(path, change):
    """The same .keras file with another description."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_is_refused_unless_it_is_allowed(suffix, tmp_path):
    path = tmp_path / f"net.{suffix}"
    network(layers.Lambda(lambda x: x + 1, name="plus")).save(path)
    with pytest.raises(ValueError, match=r"Lambda layer 'plus'.*allow_lambda=True"):
        models.load(path)
    assert models.load(path, allow_lambda=True).get_layer("plus")


def test_a_nested_lambda_is_found(tmp_path):
    inner = network(layers.Lambda(lambda x: x + 1, name="deep"))
    image = keras.Input((4, 6, 3))
    keras.Model(image, layers.TimeDistributed(inner)(image[:, None])).save(tmp_path / "net.keras")
    with pytest.raises(ValueError, match="Lambda layer 'deep'"):
        models.load(tmp_path / "net.keras")


def last(config):
    return config["config"]["layers"][-1]


FOREIGN = {
    "a class": lambda config: last(config).update(
        module="subprocess", class_name="Popen", registered_name=None
    ),
    "a function": lambda config: last(config)["config"].update(
        activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    ),
    "of ours": lambda config: last(config)["config"].update(
        activation={
            "module": "tfsegkd.atomic",
            "class_name": "function",
            "config": "write_json",
            "registered_name": "write_json",
        }
    ),
    "a download": lambda config: last(config).update(
        module="keras.utils", class_name="get_file", registered_name=None
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_classes_of_other_modules_are_refused(what, tmp_path):
    path = tmp_path / "net.keras"
    network().save(path)
    changed(path, FOREIGN[what])
    with pytest.raises(ValueError, match=r"is not loaded: it holds '\w+' of the module"):
        models.load(path)


@pytest.fixture
def attack(tmp_path, monkeypatch):
    """A file that names a module beside it, which must not be imported."""
    (tmp_path / "module_of_an_attacker.py").write_text("class Foreign: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    network().save(tmp_path / "net.keras")
    foreign = {"module": "module_of_an_attacker", "class_name": "Foreign", "registered_name": None}
    changed(tmp_path / "net.keras", lambda config: config.update(foreign))
    yield tmp_path / "net.keras"
    sys.modules.pop("module_of_an_attacker", None)


def test_the_attack_itself_does_not_run(attack):
    with pytest.raises(ValueError, match="is not loaded"):
        models.load(attack)
    assert "module_of_an_attacker" not in sys.modules


@pytest.mark.note("tf_keras")
def test_keras_alone_imports_the_module(attack):
    with contextlib.suppress(Exception):  # whatever it then says, it is too late
        keras.models.load_model(attack)
    assert "module_of_an_attacker" in sys.modules


def test_operations_on_files_are_refused(tmp_path):
    image = keras.Input((4, 6, 3))
    keras.Model(image, image * 2.0).save(tmp_path / "net.keras")
    refuse_code(tmp_path / "net.keras")
    changed(tmp_path / "net.keras", lambda config: last(config)["config"].update(function="io.write_file"))
    with pytest.raises(ValueError, match=r"the operation 'io\.write_file', which is none of a network"):
        models.load(tmp_path / "net.keras")


@pytest.mark.parametrize(
    "name", ["py_function", "compat.v1.py_func", "raw_ops.WriteFile", "numpy_function", "print"]
)
def test_functions_that_act_are_none_of_a_network(name, tmp_path):
    image = keras.Input((4, 6, 3))
    keras.Model(image, image * 2.0).save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        last(config)["config"]["function"] = name
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ValueError, match="which is none of a network"):
        models.load(tmp_path / "net.h5")


def test_what_networks_do_passes(tmp_path):
    import tensorflow as tf

    image = keras.Input((4, 6, 3))
    x = tf.image.resize(image / 255.0, (8, 12))[:, 1:]
    x = tf.concat([tf.nn.relu(x), tf.reduce_mean(x, -1, keepdims=True)], -1)
    x = layers.Conv2D(2, 1, activation="swish", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    model = keras.Model(image, tf.transpose(tf.cast(x, tf.float32) ** 2, [0, 2, 1, 3]))
    for name in ("net.keras", "net.h5"):
        model.save(tmp_path / name)
        images = np.ones((1, 4, 6, 3), "float32")
        np.testing.assert_allclose(models.load(tmp_path / name)(images), model(images))


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_arrays_in_other_files_are_refused(kind, tmp_path):
    path = tmp_path / "net.h5"
    network().save(path)
    (tmp_path / "secret").write_bytes(bytes(400))
    with h5py.File(path, "a") as file:
        if kind == "link":
            file["model_weights/more"] = h5py.ExternalLink("/etc/passwd", "x")
        elif kind == "external":
            external = [(str(tmp_path / "secret"), 0, 400)]
            file["model_weights"].create_dataset("more", (100,), "f4", external=external)
        else:
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
            file.create_virtual_dataset("model_weights/more", layout)
    with pytest.raises(ValueError, match=r"'more', which lies in"):
        models.load(path)


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"3"])
def test_a_description_that_is_none(content, tmp_path):
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", content)
        archive.writestr("metadata.json", b"{}")
    with pytest.raises(ValueError, match="Cannot read"):
        models.load(tmp_path / "net.keras")


def test_a_layer_that_the_user_has_registered_passes(tmp_path):
    @keras.utils.register_keras_serializable("mine")
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    network(Twice(name="twice")).save(tmp_path / "net.keras")
    assert models.load(tmp_path / "net.keras").get_layer("twice")
