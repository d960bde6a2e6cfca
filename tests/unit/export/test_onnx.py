import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from oodtune.bundle import model_path, open_bundle, open_session, run_session
from oodtune.export.onnx import OPSET, GraphSpec, ServedGraph, export_onnx, run_torch
from oodtune.export.parity import check_outputs, join_outputs
from tests.fixtures.family_graphs import family_graph, family_network, family_spec
from tests.unit.tiny_bundle import (
    CLASSES,
    SIZE,
    TEMPERATURE,
    random_images,
    tiny_bundle,
    tiny_ensemble,
    tiny_gaussians,
    tiny_network,
    torch_logits,
)


def test_onnx_matches_torch():
    images = random_images(7)
    logits = open_bundle(tiny_bundle()).run(images).logits
    assert np.abs(logits - torch_logits(tiny_network(0), images)).max() < 1e-4


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_gives_the_same_bits_of_every_output(batch):
    images = random_images(10)
    bundle = open_bundle(tiny_bundle())
    in_batches = join_outputs([bundle.run(images[at : at + batch]) for at in range(0, 10, batch)])
    assert all(map(np.array_equal, in_batches, bundle.run(images)))


def test_ensemble_is_one_graph_that_gives_the_mean_of_its_members_logits():
    images = random_images(5)
    logits = open_bundle(tiny_ensemble()).run(images).logits
    members = [torch_logits(tiny_network(seed), images) for seed in (0, 1)]
    assert np.abs(members[0] - members[1]).max() > 1
    assert np.abs(logits - np.mean(members, axis=0)).max() < 1e-4


def test_probabilities_are_the_softmax_of_logits_over_temperature():
    logits, probabilities, *_ = open_bundle(tiny_bundle()).run(random_images(5))
    scaled = np.exp(logits / TEMPERATURE - (logits / TEMPERATURE).max(axis=1, keepdims=True))
    assert np.allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-3)


def test_dropout_is_off_in_the_graph_even_of_a_network_left_in_training_mode(tmp_path):
    network = tiny_network(0)
    images = random_images(3)
    expected = torch_logits(network, images)
    spec = GraphSpec(1.0, SIZE, CLASSES, (tiny_gaussians(network),))
    export_onnx([network.train()], spec, tmp_path / "model.onnx")
    session, _ = open_session(tmp_path / "model.onnx")
    assert np.abs(run_session(session, images).logits - expected).max() < 1e-4


def test_the_file_holds_its_opset_its_weights_and_its_lineage():
    path = tiny_bundle() / model_path()
    model = onnx.load(path, load_external_data=False)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert metadata["model"] == "tiny"
    assert float(metadata["temperature"]) == TEMPERATURE


def test_the_file_names_no_path_of_the_machine_that_wrote_it():
    data = (tiny_bundle() / model_path()).read_bytes()
    assert b".py" not in data
    assert str(Path.home()).encode() not in data


def test_equal_networks_give_equal_bytes_and_no_word_on_the_terminal(tmp_path, capfd):
    network = tiny_network(0)
    spec = GraphSpec(TEMPERATURE, SIZE, CLASSES, (tiny_gaussians(network),), {"model": "tiny"})
    export_onnx([network], spec, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tiny_bundle() / model_path()).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_energy_and_distances_of_an_ensemble_are_the_means_over_its_members():
    images = random_images(4)
    networks = [tiny_network(seed) for seed in (0, 1)]
    found = open_bundle(tiny_ensemble()).run(images)
    spec = GraphSpec(1.0, SIZE, CLASSES, tuple(tiny_gaussians(network) for network in networks))
    single = [
        run_torch(ServedGraph([network], replace(spec, domains=(fitted,))).eval(), images)
        for network, fitted in zip(networks, spec.domains, strict=True)
    ]
    assert np.allclose(found.energy, np.mean([one.energy for one in single], axis=0), rtol=1e-5)
    distances = np.mean([one.domain_distances for one in single], axis=0)
    assert np.allclose(found.domain_distances, distances, rtol=1e-4)


FAMILIES = {
    "resnet": "test_resnet",
    "efficientnet": "test_efficientnet",
    "convnext": "test_convnext",
    "vit": "test_vit",
    "dinov2, with layer scale and registers": "test_vit3",
}


@pytest.mark.parametrize("backbone", FAMILIES.values(), ids=FAMILIES)
def test_a_network_of_this_family_predicts_in_onnx_what_it_predicts_in_torch(backbone):
    network = family_network(backbone)
    images = random_images(12)
    session, _ = open_session(family_graph(backbone), num_threads=1)
    found = run_session(session, images)
    check_outputs(found, run_torch(ServedGraph([network], family_spec(network)).eval(), images), 1e-4)
    assert np.array_equal(run_session(session, images[:1]).logits, found.logits[:1])
