import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from oodtune.bundle import open_bundle, open_session, run_session
from oodtune.export.onnx import OPSET, GraphSpec, export_onnx
from tests.unit.tiny_bundle import (
    CLASSES,
    SIZE,
    TEMPERATURE,
    random_images,
    tiny_bundle,
    tiny_ensemble,
    tiny_network,
    torch_logits,
)


def test_onnx_matches_torch():
    images = random_images(7)
    logits, _ = open_bundle(tiny_bundle()).run(images)
    assert np.abs(logits - torch_logits(tiny_network(0), images)).max() < 1e-4


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_gives_the_same_bits(batch):
    images = random_images(10)
    bundle = open_bundle(tiny_bundle())
    together, _ = bundle.run(images)
    in_batches = [bundle.run(images[at : at + batch])[0] for at in range(0, 10, batch)]
    assert np.array_equal(np.concatenate(in_batches), together)


def test_ensemble_is_one_graph_that_gives_the_mean_of_its_members_logits():
    images = random_images(5)
    logits, _ = open_bundle(tiny_ensemble()).run(images)
    members = [torch_logits(tiny_network(seed), images) for seed in (0, 1)]
    assert np.abs(members[0] - members[1]).max() > 1
    assert np.abs(logits - np.mean(members, axis=0)).max() < 1e-4


def test_probabilities_are_the_softmax_of_logits_over_temperature():
    logits, probabilities = open_bundle(tiny_bundle()).run(random_images(5))
    scaled = np.exp(logits / TEMPERATURE - (logits / TEMPERATURE).max(axis=1, keepdims=True))
    assert np.allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-3)


def test_dropout_is_off_in_the_graph_even_of_a_network_left_in_training_mode(tmp_path):
    network = tiny_network(0)
    images = random_images(3)
    expected = torch_logits(network, images)
    export_onnx([network.train()], GraphSpec(1.0, SIZE, CLASSES), tmp_path / "model.onnx")
    logits, _ = run_session(open_session(tmp_path / "model.onnx"), images)
    assert np.abs(logits - expected).max() < 1e-4


def test_the_file_holds_its_opset_its_weights_and_its_lineage():
    path = tiny_bundle() / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert metadata["model"] == "tiny"
    assert float(metadata["temperature"]) == TEMPERATURE


def test_the_file_names_no_path_of_the_machine_that_wrote_it():
    data = (tiny_bundle() / "model.onnx").read_bytes()
    assert b".py" not in data
    assert str(Path.home()).encode() not in data


def test_equal_networks_give_equal_bytes_and_no_word_on_the_terminal(tmp_path, capfd):
    spec = GraphSpec(TEMPERATURE, SIZE, CLASSES, {"model": "tiny"})
    export_onnx([tiny_network(0)], spec, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tiny_bundle() / "model.onnx").read_bytes()
    assert capfd.readouterr() == ("", "")
