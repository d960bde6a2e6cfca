"""The export stage on real artifacts of a tiny sweep: two untrained trials of timm's `test_resnet`."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from oodtune.artifact import create_artifact, open_artifact, write_json
from oodtune.bundle import model_path, open_bundle
from oodtune.config import CombineConfig, ExportConfig, PreprocessConfig, SweepConfig
from oodtune.data.cache import open_cache
from oodtune.data.index import IndexRow, write_index
from oodtune.errors import ArtifactError, DataError, ParityError
from oodtune.evaluate.predictions import Model, open_predictions
from oodtune.golden import check_golden
from oodtune.model.network import build_network
from oodtune.model.weights import save_weights
from oodtune.preprocess import decode_image
from oodtune.stages import cache, combine, evaluate, export
from oodtune.stages.export_domains import sample_images
from oodtune.stages.export_lineage import without_paths
from oodtune.stages.model_weights import find_weights
from oodtune.trial import NetworkSpec, TrialRecord, plan_trials

pytestmark = pytest.mark.xdist_group("export")  # a bundle of each kind, made once

DOMAINS = ("photo", "sketch", "clay")
CLASSES = ("cat", "dog", "tree")
TARGET = "sketch"
TEMPERATURE = 2.0
SPEC = NetworkSpec(backbone="test_resnet", classes=CLASSES, preprocess=PreprocessConfig(size=32))
SWEEP = SweepConfig(
    target_domains=(TARGET,),
    methods=("plain", "large_dropout"),
    learning_rates=(0.1,),
    weight_decays=(0.0,),
    seeds=(0,),
)
ORIGINS = [{"domain": "photo", "title": "Made | up", "source": "a test", "version": "rev7", "licence": "CC0-1.0"}]
COMBINE = CombineConfig(ensembles=("logit", "probability"))
PARAMS = export.Params(export=ExportConfig(max_abs_difference=1e-4))


@dataclass(frozen=True)
class Sweep:
    root: Path

    @property
    def trials(self) -> list[Path]:
        return [self.root / "trials" / trial.name for trial in plan_trials(SWEEP)]

    @property
    def models(self) -> tuple[Model, ...]:
        return open_predictions(self.root / "predictions").models

    def select(self, winner: Model, out: Path, predictions: Path | None = None) -> Path:
        """Write the selection of `winner`, whatever its score."""
        among = open_artifact(predictions or self.root / "predictions", "predictions")
        with create_artifact(out, "selection", inputs={"predictions": among}) as writer:
            chosen = {
                "target_domain": TARGET,
                "rule": "source_out_split",
                "winner": winner.model_dump(mode="json"),
                "temperature": TEMPERATURE,
                "iid": 0.5,
                "ood": 0.25,
                "reasons": ["It was named."],
            }
            write_json(writer.path / "selection.json", chosen)
        return out

    def first(self, kind: str) -> Model:
        """Return the first model of a kind, or of a row."""
        return next(model for model in self.models if kind in (model.kind, model.row))

    def bundle(self, kind: str) -> Path:
        """Return the bundle of the first model of a kind or row, exported once."""
        out = self.root / "bundles" / kind
        if not out.exists():
            self.export(self.select(self.first(kind), self.root / "selections" / kind), out)
        return out

    def export(self, selection: Path, out: Path, **replaced: Path) -> Path:
        parts = {name: self.root / name for name in ("cache", "soups", "predictions")} | replaced
        export.run(trials=self.trials, selection=selection, out=out, params=PARAMS, commit="abc123", **parts)
        return out


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Sweep:
    torch.set_num_threads(1)
    sweep = Sweep(tmp_path_factory.mktemp("sweep"))
    write_dataset(sweep.root / "dataset")
    cache.run(sweep.root / "dataset", sweep.root / "cache", cache.Params(preprocess=SPEC.preprocess))
    for seed, (trial, path) in enumerate(zip(plan_trials(SWEEP), sweep.trials, strict=True)):
        torch.manual_seed(seed)
        with create_artifact(path, "trial") as writer:
            save_weights(build_network(SPEC).state_dict(), writer.path / "weights.safetensors")
            record = TrialRecord(trial=trial, network=SPEC, init_digest="same", best_step=0, source_accuracy=0.5)
            writer.details.update(record.model_dump(mode="json"))
    with create_artifact(sweep.root / "init", "init"):
        pass
    soups = combine.Params(sweep=SWEEP, combine=COMBINE)
    combine.run(sweep.root / "cache", sweep.root / "init", sweep.trials, sweep.root / "soups", soups)
    evaluate.run(
        sweep.root / "cache",
        sweep.trials,
        sweep.root / "soups",
        sweep.root / "predictions",
        evaluate.Params(sweep=SWEEP, combine=COMBINE),
        device="cpu",
    )
    return sweep


def write_dataset(out: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [
        IndexRow(f"{domain}/{name}/{i}.png", domain, name, "out" if i == 0 else "in")
        for domain in DOMAINS
        for name in CLASSES
        for i in range(3)
    ]
    with create_artifact(out, "dataset") as writer:
        for row in rows:
            path = writer.path / "images" / row.id
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (40, 48, 3), np.uint8)).save(path)
        write_index(rows, writer.path / "index.csv")
        writer.details.update(domains=list(DOMAINS), classes=list(CLASSES), origins=ORIGINS, counts={})


@pytest.mark.parametrize("kind", ["trial", "soup", "logit_ensemble", "probability_ensemble"])
def test_the_bundle_predicts_what_was_evaluated_from_the_image_files_on(sweep, kind):
    winner = sweep.first(kind)
    bundle = open_bundle(sweep.bundle(kind))
    predictions = open_predictions(sweep.root / "predictions")
    checked = 0
    for domain, split in predictions.splits(TARGET):
        files = [sweep.root / "dataset" / "images" / name for name in predictions.ids(domain, split)]
        probabilities = bundle.classify([decode_image(file) for file in files])
        logits = predictions.logits(winner, domain, split)
        scaled = np.exp(logits / TEMPERATURE)
        assert np.abs(probabilities - scaled / scaled.sum(axis=1, keepdims=True)).max() < 1e-4
        assert np.array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))
        checked += len(files)
    parity = json.loads((bundle.artifact.path / "parity.json").read_text())
    assert (parity["num_images"], parity["top1_agreement"]) == (checked, 1.0)
    assert set(parity["per_split"]) == {"photo-out", "clay-out", "sketch-in", "sketch-out"}
    assert parity["graph"]["num_images"] == 9  # of three out-splits
    for close in parity["graph"]["outputs"].values():
        assert 0.0 <= close["max_abs_difference"] <= close["allowed"]
    check_golden(bundle)


def test_the_bundle_carries_its_lineage(sweep):
    winner = sweep.models[0]
    bundle = open_bundle(sweep.bundle("trial"))
    opened = open_cache(sweep.root / "cache")
    assert bundle.classes == CLASSES
    assert bundle.preprocess == SPEC.preprocess
    assert bundle.temperature == TEMPERATURE
    assert bundle.lineage["commit"] == "abc123"
    assert bundle.lineage["winner"]["name"] == winner.name
    assert (bundle.lineage["iid"], bundle.lineage["ood"]) == (0.5, 0.25)
    assert bundle.lineage["dataset"]["digest"] == open_artifact(sweep.root / "dataset", "dataset").digest
    assert bundle.lineage["dataset"]["origins"] == ORIGINS
    assert bundle.lineage["inputs"]["cache"] == opened.artifact.digest
    assert bundle.lineage["inputs"][winner.name] == open_artifact(sweep.trials[0], "trial").digest
    assert set(bundle.lineage["versions"]) == {"oodtune", "torch", "onnx", "onnxruntime"}


@pytest.mark.parametrize("kind", ["trial", "soup", "logit_ensemble"])
def test_lineage_holds_the_settings_of_every_trial_that_is_in_the_model(sweep, kind):
    winner = sweep.first(kind)
    lineage = open_bundle(sweep.bundle(kind)).lineage
    assert sorted(lineage["trials"]) == sorted(winner.members or [winner.name])
    for name, trial in lineage["trials"].items():
        assert (trial["trial"]["method"] in name, trial["trial"]["learning_rate"]) == (True, 0.1)
    assert lineage["backbone"] == SPEC.backbone
    assert lineage["reasons"] == ["It was named."]


def test_the_onnx_file_alone_holds_the_whole_lineage_and_no_path_of_this_machine(sweep):
    bundle = open_bundle(sweep.bundle("trial"))
    model = onnx.load(sweep.bundle("trial") / model_path())
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["lineage"]) == bundle.lineage
    for file in sweep.bundle("trial").rglob("*"):
        assert file.is_dir() or str(sweep.root).encode() not in file.read_bytes(), file


def test_an_absolute_path_in_settings_is_cut_to_its_name():
    settings = {
        "weights": "/home/me/weights.pth",
        "list": ["~/data", "C:\\data\\x", "relative/kept", "https://a/b"],
        "n": 1,
    }
    expected = {"weights": "weights.pth", "list": ["data", "x", "relative/kept", "https://a/b"], "n": 1}
    assert without_paths(settings) == expected


def test_the_scores_are_of_the_training_domains_and_their_out_splits(sweep):
    domains = open_bundle(sweep.bundle("trial")).domains
    assert domains.domains == ("photo", "clay")
    assert domains.num_images == 6
    assert domains.max_score == pytest.approx(0.95)
    assert (domains.detection["domain"], domains.detection["num_images"]) == (TARGET, 9)


def test_the_card_and_the_repository_entry_are_in_the_bundle(sweep):
    files = open_artifact(sweep.bundle("logit_ensemble"), "bundle").manifest.files
    assert {"README.md", "golden.npz", "model/config.pbtxt", "model/labels.txt", "model/1/model.onnx"} <= set(files)
    card = (sweep.bundle("logit_ensemble") / "README.md").read_text()
    assert "2 networks in one graph, the mean of their logits" in card
    assert "| photo | Made \\| up | a test | rev7 |" in card


def test_a_training_domain_with_one_image_to_fit_is_an_error(sweep):
    opened = open_cache(sweep.root / "cache")
    rows = tuple(row._replace(split="in" if row.id == "photo/cat/1.png" else "out") for row in opened.rows)
    with pytest.raises(DataError, match=r"two or more images in the in-split of photo, .* found 1; add images"):
        sample_images(replace(opened, rows=rows), "photo")


def test_at_most_so_many_images_are_sampled_and_always_the_same(sweep):
    opened = open_cache(sweep.root / "cache")
    some = sample_images(opened, "photo", count=4)
    assert len(some) == 4
    assert np.array_equal(some[0:4], sample_images(opened, "photo", count=4)[0:4])
    assert len(sample_images(opened, "photo")) == 6


def test_two_exports_of_one_selection_give_equal_bytes(sweep, tmp_path):
    selection = sweep.select(sweep.models[0], tmp_path / "selection")
    again = open_artifact(sweep.export(selection, tmp_path / "bundle"), "bundle")
    assert again.digest == open_artifact(sweep.bundle("trial"), "bundle").digest


def test_other_logits_than_the_models_are_a_parity_error_and_leave_no_bundle(sweep, tmp_path):
    winner = sweep.models[0]
    evaluated = open_artifact(sweep.root / "predictions", "predictions")
    inputs = {"cache": open_artifact(sweep.root / "cache", "cache")}
    inputs |= {path.name: open_artifact(path, "trial") for path in sweep.trials}
    with create_artifact(tmp_path / "predictions", "predictions", inputs=inputs) as writer:
        for folder in ("logits", "examples"):
            shutil.copytree(evaluated.path / folder, writer.path / folder)
        file = writer.path / f"logits/{TARGET}/{winner.name}/{TARGET}-in.npy"
        np.save(file, np.load(file) + 0.001)
        writer.details.update(evaluated.details)
    selection = sweep.select(winner, tmp_path / "selection", tmp_path / "predictions")
    with pytest.raises(ParityError, match=rf"{winner.name} on sketch \(in-split\): .* difference of 0\.001"):
        sweep.export(selection, tmp_path / "bundle", predictions=tmp_path / "predictions")
    assert not (tmp_path / "bundle").exists()


def test_a_selection_among_other_predictions_is_refused(sweep, tmp_path):
    with create_artifact(tmp_path / "selection", "selection") as writer:
        write_json(writer.path / "selection.json", {})
    with pytest.raises(ArtifactError, match="made from another 'predictions'; run `oodtune select` again"):
        sweep.export(tmp_path / "selection", tmp_path / "bundle")


def test_trials_trained_after_the_evaluation_are_refused(sweep, tmp_path):
    trials = [shutil.copytree(path, tmp_path / path.name) for path in sweep.trials]
    details = open_artifact(trials[0], "trial").details
    with create_artifact(trials[0], "trial") as writer:
        save_weights(build_network(SPEC).state_dict(), writer.path / "weights.safetensors")
        writer.details.update(details)
    selection = sweep.select(sweep.models[0], tmp_path / "selection")
    with pytest.raises(ArtifactError, match="run `oodtune evaluate` again"):
        export.run(
            sweep.root / "cache",
            trials,
            sweep.root / "soups",
            sweep.root / "predictions",
            selection,
            tmp_path / "bundle",
            PARAMS,
        )


def test_a_missing_trial_is_named(sweep, tmp_path):
    winner = next(model for model in sweep.models if model.kind == "ensemble")
    with pytest.raises(ArtifactError, match=f"found no {sweep.trials[1].name}"):
        find_weights(winner, sweep.trials[:1], sweep.root / "soups")
