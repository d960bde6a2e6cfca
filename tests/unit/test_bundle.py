import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from oodtune.artifact import open_artifact
from oodtune.bundle import model_path, open_bundle
from oodtune.errors import ArtifactError, DataError, UserError
from oodtune.preprocess import preprocess
from oodtune.stages.predict import classify_files
from tests.unit.tiny_bundle import CLASSES, SIZE, TEMPERATURE, encode, random_images, tiny_bundle


@pytest.fixture
def altered(tmp_path):
    """A copy of the bundle that a test may alter."""
    return shutil.copytree(tiny_bundle(), tmp_path / "bundle")


def test_a_bundle_says_what_it_is():
    bundle = open_bundle(tiny_bundle())
    assert bundle.classes == CLASSES
    assert bundle.preprocess.size == SIZE
    assert bundle.temperature == TEMPERATURE
    assert bundle.lineage["winner"] == {"name": "tiny"}
    assert bundle.digest == open_artifact(tiny_bundle(), "bundle").digest


def test_an_altered_model_is_refused(altered):
    model = altered / model_path()
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model/1/model\.onnx is not the file that was written"):
        open_bundle(altered)


@pytest.mark.parametrize(
    "name", ["preprocess.json", "labels.json", "calibration.json", "domains.json", "model/1/model.onnx"]
)
def test_a_missing_file_is_refused(altered, name):
    (altered / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        open_bundle(altered)


def test_a_provider_that_does_not_work_here_is_refused_and_not_replaced():
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(UserError, match=r"expected CUDAExecutionProvider .* found only .*CPU.*oodtune\[gpu\]"):
        open_bundle(tiny_bundle(), provider="cuda")


def test_the_cpu_computes_in_its_place_only_where_that_is_allowed():
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert open_bundle(tiny_bundle(), provider="cuda", allow_cpu=True).provider == "cpu"


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(ArtifactError, match=r"expected a bundle with variant 'int8', found \['fp32'\]"):
        open_bundle(tiny_bundle(), variant="int8")


def test_an_unknown_provider_is_refused():
    with pytest.raises(UserError, match=r"expected a provider among \['cpu', 'cuda', 'tensorrt'\], found 'tpu'"):
        open_bundle(tiny_bundle(), provider="tpu")


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'pip install "oodtune\[cpu\]"'):
        open_bundle(tiny_bundle())


def test_number_of_threads_changes_no_bit():
    images = random_images(4)
    one, two = (open_bundle(tiny_bundle(), num_threads=count).run(images)[0] for count in (1, 2))
    assert np.array_equal(one, two)


def test_classify_is_preprocess_then_run():
    bundle = open_bundle(tiny_bundle())
    image = Image.fromarray(random_images(1)[0]).resize((50, 40))
    expected = bundle.run(preprocess(image, bundle.preprocess)[None])
    assert np.array_equal(bundle.classify([image]), expected.probabilities)


def test_rank_orders_by_probability_and_ties_by_class():
    bundle = open_bundle(tiny_bundle())
    ranked = bundle.rank(np.array([0.25, 0.5, 0.25], np.float32), 3)
    assert ranked == [("dog", 0.5), ("cat", 0.25), ("tree", 0.25)]


def test_classify_files_answers_every_file_in_order(tmp_path):
    images = random_images(3)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode(image))
    bundle = open_bundle(tiny_bundle())
    found = classify_files(tiny_bundle(), paths, top_k=2)
    expected = bundle.classify([Image.fromarray(image) for image in images])
    assert [path for path, _ in found] == paths
    assert [labels for _, labels in found] == [bundle.rank(row, 2) for row in expected]


def test_an_unreadable_image_file_is_named(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(DataError, match=r"notes\.png: expected an image"):
        classify_files(tiny_bundle(), [path], top_k=1)


def test_predicting_and_serving_import_no_torch_and_nothing_heavy_before_use():
    code = (
        "import sys, oodtune.bundle, oodtune.serve, oodtune.serve.app, oodtune.stages.predict\n"
        "heavy = ('torch', 'timm', 'kfp', 'dvc', 'onnx', 'onnxruntime')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
