"""`selection` and what it chose from -> `bundle`: one ONNX file, proven to predict what was evaluated."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oodtune import bundle
from oodtune.artifact import Artifact, create_artifact, open_artifact, write_json
from oodtune.config import ExportConfig, StageParams
from oodtune.data.cache import Cache, open_cache
from oodtune.errors import SelectionError
from oodtune.evaluate.predictions import Model, Predictions, open_predictions
from oodtune.export.parity import Parity, check_parity, merge_parities
from oodtune.stages.model_weights import Source, check_made_from, find_weights


class Params(StageParams):
    export: ExportConfig


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    soups: Path | str,
    predictions: Path | str,
    selection: Path | str,
    out: Path | str,
    params: Params,
    commit: str | None = None,
) -> None:
    """Write a `bundle` artifact. `commit` names the code and settings in its lineage.

    Raises ParityError, and writes nothing, if ONNX Runtime predicts otherwise than the evaluated model on any
    stored image of the winner's target; SelectionError if that was looked at to choose, and `allow_oracle` is false;
    ArtifactError if the inputs do not belong together.
    """
    opened_cache = open_cache(Path(cache))
    opened_predictions = open_predictions(Path(predictions))
    opened_selection = open_artifact(Path(selection), "selection")
    chosen = _read_selection(opened_selection, opened_predictions, params.export.allow_oracle)
    winner = Model.model_validate(chosen["winner"])
    source = find_weights(winner, trials, Path(soups))
    evaluated = {"cache": opened_cache.artifact, **source.inputs}
    check_made_from(opened_predictions.artifact, evaluated, "oodtune evaluate")
    inputs = {**evaluated, "predictions": opened_predictions.artifact, "selection": opened_selection}
    lineage = _lineage(chosen, inputs, opened_cache, commit)
    with create_artifact(Path(out), "bundle", params, inputs) as writer:
        _write_model(source, winner, chosen["temperature"], lineage, writer.path / bundle.MODEL)
        session = bundle.open_session(writer.path / bundle.MODEL)
        parity = _prove(
            lambda pixels: bundle.run_session(session, pixels)[0],
            winner,
            opened_predictions,
            opened_cache,
            params.export.max_abs_difference,
        )
        write_json(writer.path / bundle.PREPROCESS, source.network.preprocess.model_dump(mode="json"))
        write_json(writer.path / bundle.LABELS, list(source.network.classes))
        write_json(writer.path / bundle.CALIBRATION, {"temperature": chosen["temperature"]})
        write_json(writer.path / bundle.PARITY, parity)
        write_json(writer.path / bundle.LINEAGE, lineage)
        writer.details.update(winner=chosen["winner"], classes=list(source.network.classes))


def _read_selection(selection: Artifact, predictions: Predictions, allow_oracle: bool) -> dict[str, Any]:
    check_made_from(selection, {"predictions": predictions.artifact}, "oodtune select")
    chosen: dict[str, Any] = json.loads((selection.path / "selection.json").read_text(encoding="utf-8"))
    if chosen.get("refused"):
        raise SelectionError(
            f"{selection.path}: expected a choice that may ship, found one that was refused: {chosen['refused']}"
        )
    if chosen["rule"] == "oracle" and not allow_oracle:
        raise SelectionError(
            f"{selection.path}: expected a choice without a look at {chosen['target_domain']}, found the oracle's, "
            "whose accuracy there is a ceiling; change select.rule, or set export.allow_oracle to true"
        )
    return chosen


def _write_model(source: Source, winner: Model, temperature: float, lineage: Mapping[str, Any], path: Path) -> None:
    from oodtune.export.onnx import GraphSpec, export_onnx
    from oodtune.model.initial import load_network

    networks = [load_network(source.network, weights) for weights in source.weights]
    facts = {
        "commit": lineage["commit"] or "unknown",
        "model": lineage["winner"]["name"],
        "target_domain": lineage["winner"]["target_domain"],
    }
    size, classes = source.network.preprocess.size, source.network.classes
    spec = GraphSpec(temperature, size, classes, facts, winner.averages or "logit")
    export_onnx(networks, spec, path)


def _prove(
    predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    winner: Model,
    predictions: Predictions,
    cache: Cache,
    tolerance: float,
) -> dict[str, Any]:
    """Compare with the stored logits on every image that the winner was evaluated on."""
    found: dict[tuple[str, str], Parity] = {}
    for domain, split in predictions.splits(winner.target_domain):
        examples = cache.examples(domain, split)
        assert examples.ids == predictions.ids(domain, split)
        expected = predictions.logits(winner, domain, split)
        name = f"{winner.name} on {domain} ({split}-split)"
        found[domain, split] = check_parity(predict, expected, examples.images, tolerance, name)
    per_split = {f"{domain}-{split}": asdict(parity) for (domain, split), parity in found.items()}
    return {**asdict(merge_parities(list(found.values()))), "tolerance": tolerance, "per_split": per_split}


def _lineage(
    chosen: Mapping[str, Any], inputs: Mapping[str, Artifact], cache: Cache, commit: str | None
) -> dict[str, Any]:
    scores = {name: chosen[name] for name in ("winner", "target_domain", "rule", "iid", "ood", "temperature")}
    details = cache.artifact.details
    return {
        **scores,
        "reasons": chosen.get("reasons", []),
        "commit": commit or None,  # Kubeflow knows no None
        "dataset": {
            "digest": cache.artifact.manifest.inputs.get("dataset"),
            "domains": list(cache.domains),
            **{name: details[name] for name in ("origins",) if name in details},
        },
        "inputs": {name: artifact.digest for name, artifact in sorted(inputs.items())},
        "versions": {name: importlib.metadata.version(name) for name in ("oodtune", "torch", "onnx")}
        | {"onnxruntime": bundle.runtime_version()},
    }
