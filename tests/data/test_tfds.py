"""Data sets of TFDS, built here in small: found features, shifted classes, and single examples by index."""

import numpy as np
import pytest

from tfsegkd import data

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
features = tensorflow_datasets.features
MASK = features.Image(shape=(None, None, 1), use_colormap=True)


def build(directory, dataset, classes, first_label=1, mask=("segmentation_mask", MASK), extra=(), **builder):
    """Prepares a data set as its author would; example n is of the grey value 10 n."""

    def examples(split, count):
        for number in range(count):
            shape = (6 + number, 9, 1)
            labels = first_label + (np.arange(shape[0] * 9) + number) % classes
            example = {"image": np.full((*shape[:2], 3), 10 * number, np.uint8), "n": number}
            example[mask[0]] = labels.reshape(shape).astype(mask[1].np_dtype)
            yield f"{split}_{number}", example | {key: np.zeros((2, 2, 3), np.uint8) for key, _ in extra}

    class Tiny(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            found = {
                "image": features.Image(),
                "n": features.Scalar(np.int64),
                mask[0]: mask[1],
                **dict(extra),
            }
            return tensorflow_datasets.core.DatasetInfo(builder=self, features=features.FeaturesDict(found))

        def _split_generators(self, manager):
            return {"train": examples("train", 7), "validation": examples("validation", 2)}

        def _generate_examples(self):
            raise NotImplementedError

    tensorflow_datasets.disable_progress_bar()
    config = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False)
    Tiny(data_dir=str(directory), **builder).download_and_prepare(download_config=config)
    return directory


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Masks of the labels 1…3, as those of oxford_iiit_pet."""
    return build(tmp_path_factory.mktemp("pets"), "tiny_pets", 3)


PETS = "tfds:tiny_pets(names=['pet', 'background', 'border'], offset=1)"


def read(directory, split, name):
    """What TFDS itself reads, in order."""
    dataset = tensorflow_datasets.load(name, data_dir=str(directory), split=split)
    return [(example["image"], example["segmentation_mask"]) for example in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("split", ["train", "train[2:5]", "train[50%:]", "validation+train[:1]"])
def test_examples_are_those_of_tfds_by_index(pets, split):
    source, expected = data.load(PETS, split, pets), read(pets, split, "tiny_pets")
    assert len(source) == len(expected) > 1
    for index in (*range(len(source)), 0, -1):
        np.testing.assert_array_equal(source[index][0], expected[index][0])
        np.testing.assert_array_equal(source[index][1], expected[index][1][..., 0] - 1)
    assert source.info.class_names == ("pet", "background", "border")
    assert len(set(source.names)) == len(source) and source.fingerprint() == source.fingerprint()


def test_lower_labels_are_void_and_others_may_be(pets):
    spec = "tfds:tiny_pets(names=['background', 'border'], offset=2)"
    mask = data.load(spec, "train", pets)[0][1]
    original = read(pets, "train", "tiny_pets")[0][1][..., 0]
    np.testing.assert_array_equal(mask, np.choose(original, [255, 255, 0, 1]))
    spec = "tfds:tiny_pets(names=['pet', 'background'], offset=1, ignore_label=3)"
    np.testing.assert_array_equal(data.load(spec, "train", pets)[0][1], np.choose(original, [255, 0, 1, 255]))
    with pytest.raises(
        ValueError, match=r"'tfds:tiny_pets train_00000' has label 3 at row .* 0 for void|1…2"
    ):
        data.load("tfds:tiny_pets(names=['pet', 'background'], offset=1)", "train", pets)[0]


def test_the_pets_of_oxford_need_no_options(tmp_path):
    build(tmp_path, "oxford_iiit_pet", 3)
    version = tmp_path / "oxford_iiit_pet"
    # TFDS knows the data set by its own version.
    (version / "1.0.0").rename(version / "4.0.0")
    for file in (version / "4.0.0").glob("*.json"):
        file.write_text(file.read_text().replace("1.0.0", "4.0.0"))
    source = data.load("tfds:oxford_iiit_pet", "train", tmp_path)
    assert source.info.class_names == ("pet", "background", "border")
    assert set(np.unique(source[0][1])) == {0, 1, 2}


def test_names_in_the_feature_and_random_access_files(tmp_path):
    labeled = ("annotation", features.LabeledImage(labels=["road", "sky"], shape=(None, None, 1)))
    build(tmp_path, "tiny_streets", 2, 0, labeled, file_format="array_record")
    source = data.load("tfds:tiny_streets", "val", tmp_path)  # finds 'validation'
    assert source.info.class_names == ("road", "sky") and len(source) == 2
    assert {int(image[0, 0, 0]) for image, _ in source} == {0, 10}
    assert [set(np.unique(mask)) for _, mask in source] == [{0, 1}] * 2


def test_several_pictures_must_be_told_apart(tmp_path):
    extra = [("depth", features.Image()), ("image_right", features.Image())]
    build(tmp_path, "tiny_stereo", 2, 0, extra=extra)
    spec = "tfds:tiny_stereo(names=['a', 'b']{})"
    assert data.load(spec.format(""), "train", tmp_path)[0][0].shape[1] == 9  # 'image' it is
    wrong = data.load(spec.format(", image=depth"), "train", tmp_path)
    with pytest.raises(ValueError, match=r"its image of \(2, 2\)\. Expected labels of the image's size"):
        wrong[0]
    with pytest.raises(ValueError, match="image of tfds:tiny_stereo must be one of"):
        data.load(spec.format(", image=left"), "train", tmp_path)


@pytest.mark.parametrize(
    ("spec", "split", "error", "message"),
    [
        ("tfds", "train", ValueError, "Write tfds:NAME"),
        ("tfds:tiny_pets", "train", ValueError, r"classes of tfds:tiny_pets are not known.*names=\['pet'"),
        (PETS, "test", ValueError, r"Unknown split 'test'. Should be one of \['train', 'validation'\]"),
        (PETS, "train[", ValueError, r"Split 'train\[' of tfds:tiny_pets"),
        ("tfds:tiny_cats", "train", ValueError, "TFDS has no data set 'tiny_cats'"),
        ("tfds:oxford_iiit_pet", "train", FileNotFoundError, r"not prepared in .*download=True"),
        ("camvid:tiny", "train", ValueError, "Unknown data set 'camvid:tiny'"),
        (PETS.replace("offset", "ofset"), "train", ValueError, "Wrong arguments for data set 'tfds'.*offset"),
        ("tfds:tiny_pets(names=['a'], offset=-1)", "train", ValueError, "offset of tfds must be a number"),
    ],
)
def test_faults_are_named(pets, spec, split, error, message):
    with pytest.raises(error, match=message):
        data.load(spec, split, pets)


def test_a_damaged_file_is_named(tmp_path):
    build(tmp_path, "tiny_pets", 3)
    (file,) = tmp_path.glob("tiny_pets/1.0.0/*train*")
    whole = file.read_bytes()
    for length in (len(whole) - 3, len(whole) - 1, 8):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"tiny_pets-train.* is damaged at byte \d+"):
            data.load(PETS, "train", tmp_path)


def test_batches_can_be_made_of_it(pets):
    batches = data.training_batches(data.load(PETS, "train", pets), (8, 8), 3)
    images, masks = next(iter(batches))
    assert images.shape == (3, 8, 8, 3) and set(np.unique(masks)) <= {0, 1, 2, 255}
