"""Variants of a real graph: an untrained `test_resnet` of timm, on a cache of random images."""

import json

import numpy as np
import pytest
import torch

from oodtune import bundle
from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import ExportConfig, PreprocessConfig
from oodtune.data.cache import open_cache
from oodtune.domain_scores import DomainScores
from oodtune.export.onnx import GraphSpec, export_onnx
from oodtune.model.network import build_network
from oodtune.stages.export_domains import fit_gaussians, measure_domains
from oodtune.stages.export_variants import LATENCY, Exported, write_variants
from oodtune.trial import NetworkSpec
from tests.fixtures.small_cache import CLASSES, write_cache

SOURCES, TARGET, SIZE = ("ink", "oil"), "clay", 32
ANY_LOSS = ExportConfig(variants=("int8", "fp16"), max_accuracy_loss=100.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The cache, the path of the fp32 graph, and what it says."""
    root = tmp_path_factory.mktemp("variants")
    cache = open_cache(write_cache(root, SIZE))
    torch.manual_seed(0)
    spec = NetworkSpec(backbone="test_resnet", classes=CLASSES, preprocess=PreprocessConfig(size=SIZE))
    network = build_network(spec).eval()
    path = root / "model.onnx"
    export_onnx([network], GraphSpec(1.0, SIZE, CLASSES, fit_gaussians([network], cache, SOURCES)), path)
    session, _ = bundle.open_session(path)
    splits = [(domain, "out") for domain in SOURCES] + [(TARGET, "in"), (TARGET, "out")]
    outputs = {at: bundle.run_session(session, cache.examples(*at).images[0:99]) for at in splits}
    return path, Exported(cache, outputs, measure_domains(outputs, SOURCES, TARGET, CLASSES, 0.05), TARGET)


def write(made, out, config, exported=None):
    path, of_fp32 = made
    with create_artifact(out, "bundle") as writer:
        place = writer.path / bundle.model_path()
        place.parent.mkdir(parents=True)
        place.write_bytes(path.read_bytes())
        found = write_variants(writer, exported or of_fp32, config)
    return found, open_artifact(out, "bundle")


@pytest.fixture(scope="module")
def accepted(made, tmp_path_factory):
    return write(made, tmp_path_factory.mktemp("accepted") / "bundle", ANY_LOSS)


@pytest.mark.parametrize("variant", ["fp16", "int8"])
def test_an_accepted_variant_is_in_the_bundle_with_what_it_loses_and_scores_of_its_own(accepted, variant):
    found, artifact = accepted
    assert bundle.model_path(variant) in artifact.manifest.files
    assert found == json.loads((artifact.path / bundle.VARIANTS).read_text())
    assert found[variant]["accepted"]
    assert found[variant]["per_split"].keys() == {"ink-out", "oil-out", "clay-in", "clay-out"}
    assert DomainScores.model_validate(found[variant]["domains"]).domains == SOURCES


def test_on_its_own_scale_a_variant_flags_the_share_of_training_images_that_it_should(accepted):
    found, _ = accepted
    assert found["int8"]["ood_score"]["flagged_own_scale"] <= 0.05 + 1 / 8  # of eight images


def test_times_are_in_the_bundle_and_no_content_of_it(accepted):
    _, artifact = accepted
    times = json.loads((artifact.path / LATENCY).read_text())
    assert LATENCY not in artifact.manifest.files
    assert {(one["variant"], one["batch"]) for one in times["speeds"]} == {
        (variant, batch) for variant in ("fp32", "fp16", "int8") for batch in (1, 8)
    }
    assert times["megabytes"]["int8"] < times["megabytes"]["fp32"]


def perfect(exported, domains):
    """`exported` as if fp32 were right about every image of `domains`."""
    outputs = dict(exported.outputs)
    for domain, split in exported.outputs:
        if domain in domains:
            right = np.eye(len(CLASSES), dtype=np.float32)[exported.cache.examples(domain, split).labels]
            outputs[domain, split] = exported.outputs[domain, split]._replace(logits=right)
    return Exported(exported.cache, outputs, exported.scores, exported.target_domain)


def test_a_variant_that_loses_too_much_on_one_source_domain_is_left_out_with_the_numbers(made, tmp_path, capsys):
    config = ExportConfig(variants=("int8",), max_accuracy_loss=1.0)
    found, artifact = write(made, tmp_path / "bundle", config, perfect(made[1], SOURCES))
    assert not found["int8"]["accepted"]
    assert found["int8"]["worst_loss_points"] > 1.0
    assert not (artifact.path / bundle.repository_name("int8")).exists()
    assert bundle.VARIANTS in artifact.manifest.files
    assert "variant int8 is left out: expected at most 1 points" in capsys.readouterr().err


def test_the_loss_on_the_held_out_domain_is_reported_and_decides_nothing(made, tmp_path):
    config = ExportConfig(variants=("fp16",), max_accuracy_loss=1.0)
    found, _ = write(made, tmp_path / "bundle", config, perfect(made[1], (TARGET,)))
    assert found["fp16"]["target_loss_points"] > 1.0
    assert found["fp16"]["accepted"]


def test_without_variants_nothing_is_written(made, tmp_path):
    found, artifact = write(made, tmp_path / "bundle", ExportConfig())
    assert found == {}
    assert list(artifact.manifest.files) == [bundle.model_path()]
