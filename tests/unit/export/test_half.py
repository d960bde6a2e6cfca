import numpy as np
import onnx
import pytest

from oodtune.bundle import model_path, open_session, run_session
from oodtune.export.half import convert_half
from oodtune.export.onnx import GraphSpec, export_onnx
from tests.unit.tiny_bundle import CLASSES, SIZE, random_images, tiny_bundle, tiny_gaussians, tiny_network

IMAGES = random_images(24)


def run(path):
    return run_session(open_session(path, num_threads=1)[0], IMAGES)


@pytest.fixture(scope="module")
def fp32():
    return tiny_bundle() / model_path()


@pytest.fixture(scope="module")
def half(fp32, tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "model.onnx"
    convert_half(fp32, IMAGES, path)
    return path


def weights_of(path, kind):
    return [one for one in onnx.load(path).graph.initializer if one.data_type == kind]


def test_a_half_graph_is_valid_and_has_the_inputs_and_outputs_of_the_whole_one(fp32, half):
    model, whole = onnx.load(half), onnx.load(fp32)
    onnx.checker.check_model(model, full_check=True)
    assert list(model.graph.input) == list(whole.graph.input)
    assert [value.type for value in model.graph.output] == [value.type for value in whole.graph.output]


def test_a_half_graph_predicts_what_the_whole_one_does_to_three_digits(fp32, half):
    for found, expected in zip(run(half), run(fp32), strict=True):
        assert np.abs(found - expected).max() <= 0.004 * max(1.0, expected.std())


def test_the_weights_of_the_backbone_are_halves_and_those_of_the_head_are_not(half):
    assert [8, 3, 3, 3] in [list(one.dims) for one in weights_of(half, onnx.TensorProto.FLOAT16)]
    assert [len(CLASSES), 128] in [list(one.dims) for one in weights_of(half, onnx.TensorProto.FLOAT)]


def test_what_overflows_stays_whole(tmp_path):
    network = tiny_network(0)
    network.features[0].weight.data *= 1e4
    network.features[1].weight.data *= 1e-4
    export_onnx([network], GraphSpec(1.0, SIZE, CLASSES, (tiny_gaussians(network),)), tmp_path / "whole.onnx")
    convert_half(tmp_path / "whole.onnx", IMAGES, tmp_path / "half.onnx")
    found, expected = run(tmp_path / "half.onnx"), run(tmp_path / "whole.onnx")
    assert np.isfinite(found.logits).all()
    assert np.abs(found.logits - expected.logits).max() < 0.01 * max(1.0, expected.logits.std())


def test_the_lineage_of_the_whole_graph_is_in_the_half_one(half):
    facts = {prop.key: prop.value for prop in onnx.load(half).metadata_props}
    assert facts["model"] == "tiny"
    assert facts["precision"] == "fp16"


def test_a_graph_is_halved_to_the_same_bytes_each_time(fp32, half, tmp_path):
    convert_half(fp32, IMAGES, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == half.read_bytes()
