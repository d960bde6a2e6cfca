import logging

import numpy as np
import onnx
import pytest

from oodtune.bundle import open_session, run_session
from oodtune.export.half import convert_half
from oodtune.export.quantise import draw_calibration, quantise
from tests.fixtures.family_graphs import family_graph
from tests.unit.tiny_bundle import DOMAINS, domain_images, random_images

pytestmark = pytest.mark.xdist_group("quantise")  # a graph of each family, made once

FAMILIES = ("test_resnet", "test_convnext", "test_vit")
CALIBRATION = np.concatenate([domain_images(domain) for domain in DOMAINS])
SEEN = np.concatenate([domain_images(domain, seed=1) for domain in DOMAINS])


@pytest.fixture(scope="module", params=FAMILIES)
def fp32(request):
    return family_graph(request.param)


@pytest.fixture(scope="module")
def int8(fp32, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantise(fp32, CALIBRATION, path)
    return path


def run(path):
    return run_session(open_session(path, num_threads=1)[0], SEEN)


def weighted(path):
    """Every Conv, Gemm and MatMul of a graph that has weights, and whether these are integers, in order."""
    graph = onnx.load(path).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    weights = {one.name for one in graph.initializer}
    return [
        makers.get(node.input[1]) == "DequantizeLinear"
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and (node.input[1] in weights or node.input[1] in makers)
    ]


def test_int8_is_valid_and_has_the_inputs_and_outputs_of_fp32(fp32, int8):
    model, whole = onnx.load(int8), onnx.load(fp32)
    onnx.checker.check_model(model, full_check=True)
    assert list(model.graph.input) == list(whole.graph.input)
    assert [value.name for value in model.graph.output] == [value.name for value in whole.graph.output]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]


def test_int8_predicts_what_fp32_does_to_a_fifth_of_the_spread_of_logits(fp32, int8):
    found, expected = run(int8).logits, run(fp32).logits
    spread = expected.std(axis=0).max()
    assert np.sqrt(np.square(found - expected).mean()) < 0.2 * spread


def test_the_backbone_is_int8_but_for_its_first_convolution_and_the_head_is_not(int8):
    is_int8 = weighted(int8)
    assert not is_int8[0]
    assert not any(is_int8[-2:])  # head, directions of the domains
    assert sum(is_int8) > len(is_int8) / 3


def test_int8_is_smaller_and_keeps_the_lineage(fp32, int8):
    assert int8.stat().st_size < 0.7 * fp32.stat().st_size
    facts = {prop.key: prop.value for prop in onnx.load(int8).metadata_props}
    assert (facts["model"], facts["precision"]) == ("a", "int8")


def test_quantising_says_nothing_and_gives_the_same_bytes_each_time(fp32, int8, tmp_path, capfd):
    handlers = list(logging.root.handlers)
    quantise(fp32, CALIBRATION, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == int8.read_bytes()
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers


def test_fp16_predicts_what_fp32_does_to_a_hundredth_of_the_spread_of_logits(fp32, tmp_path):
    convert_half(fp32, CALIBRATION, tmp_path / "fp16.onnx")
    found, expected = run(tmp_path / "fp16.onnx").logits, run(fp32).logits
    assert np.abs(found - expected).max() < 0.01 * expected.std()


def test_calibration_takes_as_many_images_of_each_domain_and_always_the_same():
    splits = {"a": random_images(40, seed=1), "b": random_images(30, seed=2)}
    drawn = draw_calibration(splits, 20)
    assert len(drawn) == 20
    assert np.isin(drawn[:10], splits["a"]).all()
    assert (drawn == draw_calibration(splits, 20)).all()
    for image in drawn[10:]:
        assert (image == splits["b"]).all(axis=(1, 2, 3)).any()


def test_a_small_domain_gives_all_its_images_to_the_calibration():
    assert len(draw_calibration({"a": random_images(40), "b": random_images(3)}, 20)) == 13
