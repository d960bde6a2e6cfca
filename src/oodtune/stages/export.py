"""`selection` and what it chose from -> `bundle`: one ONNX file, proven to predict what was evaluated."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oodtune import bundle
from oodtune.artifact import Artifact, create_artifact, open_artifact, verify_artifact, write_json
from oodtune.config import ExportConfig, StageParams
from oodtune.data.cache import Cache, open_cache
from oodtune.errors import ArtifactError, SelectionError
from oodtune.evaluate.predictions import Model, Predictions, open_predictions
from oodtune.export.parity import Parity, check_parity, merge_parities
from oodtune.stages.trials import check_one_origin, open_trials, trial_inputs
from oodtune.trial import NetworkSpec, SoupRecord, trial_of


class Params(StageParams):
    export: ExportConfig


@dataclass(frozen=True)
class Source:
    """The weights of the chosen model: of one network, or of every member of an ensemble."""

    network: NetworkSpec
    weights: tuple[Path, ...]
    inputs: dict[str, Artifact]
    """Name -> the artifacts that hold them."""


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
    _check_came_from(opened_predictions.artifact, evaluated, "oodtune evaluate")
    inputs = {**evaluated, "predictions": opened_predictions.artifact, "selection": opened_selection}
    lineage = _lineage(chosen, inputs, opened_cache, commit)
    with create_artifact(Path(out), "bundle", params, inputs) as writer:
        _write_model(source, chosen["temperature"], lineage, writer.path / bundle.MODEL)
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


def find_weights(winner: Model, trials: Sequence[Path | str], soups: Path) -> Source:
    """Return the weights files of a model. Raises ArtifactError if they are not in `trials` and `soups`."""
    if winner.kind == "soup":
        return _find_soup(winner, soups)
    names = winner.members if winner.kind == "ensemble" else (winner.name,)
    found = open_trials(trials, verify=False)
    owners = {name: found[owner] for name in names if (owner := trial_of(name)) in found}
    missing = [name for name in names if name not in owners]
    if missing:
        raise ArtifactError(
            f"expected the trials of {winner.name}, found no {', '.join(missing)}; pass the whole sweep"
        )
    members = list({owner.name: owner for owner in owners.values()}.values())
    for member in members:
        verify_artifact(member.artifact)
    check_one_origin(members)
    weights = tuple(owners[name].weights_of(name) for name in names)
    return Source(members[0].record.network, weights, trial_inputs(members))


def _find_soup(winner: Model, soups: Path) -> Source:
    opened = open_artifact(soups, "soup")
    record = SoupRecord.model_validate(opened.details)
    for soup in record.soups:
        if (soup.target_domain, soup.name) == (winner.target_domain, winner.name):
            return Source(record.network, (opened.path / soup.path,), {"soup": opened})
    raise ArtifactError(
        f"{soups}: expected {winner.name!r} of target domain {winner.target_domain!r}, found none; "
        "pass the soups that were evaluated"
    )


def _read_selection(selection: Artifact, predictions: Predictions, allow_oracle: bool) -> dict[str, Any]:
    _check_came_from(selection, {"predictions": predictions.artifact}, "oodtune select")
    chosen: dict[str, Any] = json.loads((selection.path / "selection.json").read_text(encoding="utf-8"))
    if chosen["rule"] == "oracle" and not allow_oracle:
        raise SelectionError(
            f"{selection.path}: expected a choice without a look at {chosen['target_domain']}, found the oracle's, "
            "whose accuracy there is a ceiling; change select.rule, or set export.allow_oracle to true"
        )
    return chosen


def _check_came_from(product: Artifact, inputs: Mapping[str, Artifact], command: str) -> None:
    """Raise ArtifactError unless `product` was made from exactly these artifacts, among others."""
    for name, artifact in inputs.items():
        if product.manifest.inputs.get(name) != artifact.digest:
            raise ArtifactError(
                f"{product.path}: expected {product.manifest.kind} made from {artifact.path}, found one made "
                f"from another {name!r}; run `{command}` again"
            )


def _write_model(source: Source, temperature: float, lineage: Mapping[str, Any], path: Path) -> None:
    from oodtune.export.onnx import GraphSpec, export_onnx
    from oodtune.model.initial import load_network

    networks = [load_network(source.network, weights) for weights in source.weights]
    facts = {
        "commit": lineage["commit"] or "unknown",
        "model": lineage["winner"]["name"],
        "target_domain": lineage["winner"]["target_domain"],
    }
    spec = GraphSpec(temperature, source.network.preprocess.size, source.network.classes, facts)
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
