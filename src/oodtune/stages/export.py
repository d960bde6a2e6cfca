"""`selection` and what it chose from -> `bundle`: one ONNX file, proven to predict what was evaluated."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from oodtune import bundle
from oodtune.artifact import Artifact, ArtifactWriter, create_artifact, open_artifact, write_json
from oodtune.bundle import Outputs
from oodtune.config import ExportConfig, StageParams
from oodtune.config.serve import Variant
from oodtune.data.cache import Cache, open_cache
from oodtune.errors import SelectionError
from oodtune.evaluate.predictions import Model, Predictions, Split, open_predictions
from oodtune.export.parity import check_outputs, check_parity, join_outputs, merge_parities, run_in_batches
from oodtune.progress import progress_bar
from oodtune.stages.export_lineage import describe_lineage, describe_trials
from oodtune.stages.model_weights import Source, check_made_from, find_weights

if TYPE_CHECKING:
    from oodtune.export.onnx import ServedGraph


class Params(StageParams):
    export: ExportConfig


@dataclass(frozen=True)
class _Job:
    """What is exported, and what it is compared with."""

    winner: Model
    temperature: float
    source: Source
    cache: Cache
    predictions: Predictions
    lineage: dict[str, Any]
    config: ExportConfig

    @property
    def sources(self) -> tuple[str, ...]:
        """The training domains."""
        return tuple(domain for domain, _ in self.predictions.iid_splits(self.winner.target_domain, "out"))

    @property
    def splits(self) -> list[tuple[str, Split]]:
        """What the winner was evaluated on."""
        return self.predictions.splits(self.winner.target_domain)


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
    ArtifactError if the inputs do not belong together; DataError if a training domain has no images to measure its
    distances on.
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
    lineage = describe_lineage(chosen, inputs, opened_cache, source, commit)
    lineage["trials"] = describe_trials(winner.members or (winner.name,), trials)
    job = _Job(winner, chosen["temperature"], source, opened_cache, opened_predictions, lineage, params.export)
    with create_artifact(Path(out), "bundle", params, inputs) as writer:
        _write_bundle(job, writer)
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


def _write_bundle(job: _Job, writer: ArtifactWriter) -> None:
    from oodtune.export.card import Card, render_card
    from oodtune.export.triton import write_repository_entry
    from oodtune.stages.export_domains import measure_domains
    from oodtune.stages.export_variants import Exported, write_variants

    out, network = writer.path, job.source.network
    graph = _write_graph(job, out / bundle.model_path())
    outputs = _run_graph(job, out / bundle.model_path())
    parity = _prove(job, graph, outputs)
    scores = measure_domains(outputs, job.sources, job.winner.target_domain, network.classes, job.config.false_alarms)
    exported = Exported(job.cache, outputs, scores, job.winner.target_domain)
    variants = write_variants(writer, exported, job.config)
    write_json(out / bundle.DOMAINS, scores.model_dump(mode="json"))
    write_json(out / bundle.PREPROCESS, network.preprocess.model_dump(mode="json"))
    write_json(out / bundle.LABELS, list(network.classes))
    write_json(out / bundle.CALIBRATION, {"temperature": job.temperature})
    write_json(out / bundle.PARITY, parity)
    write_json(out / bundle.LINEAGE, job.lineage)
    card = Card(network.classes, network.preprocess, job.temperature, scores, job.lineage, parity, variants)
    (out / bundle.CARD).write_text(render_card(card), encoding="utf-8")
    for variant in _written_variants(out):
        write_repository_entry(out, network.preprocess.size, network.classes, len(job.sources), variant)
    _write_golden(job, out)


def _write_graph(job: _Job, path: Path) -> "ServedGraph":
    from oodtune.export.onnx import GraphSpec, export_onnx
    from oodtune.model.initial import load_network
    from oodtune.stages.export_domains import fit_gaussians

    networks = [load_network(job.source.network, weights) for weights in job.source.weights]
    gaussians = fit_gaussians(networks, job.cache, job.sources)
    facts = {
        "commit": job.lineage["commit"] or "unknown",
        "lineage": json.dumps(job.lineage, sort_keys=True, allow_nan=False),
        "model": job.winner.name,
        "target_domain": job.winner.target_domain,
    }
    size, classes = job.source.network.preprocess.size, job.source.network.classes
    spec = GraphSpec(job.temperature, size, classes, gaussians, facts, job.winner.averages or "logit")
    path.parent.mkdir(parents=True)
    return export_onnx(networks, spec, path)


def _run_graph(job: _Job, path: Path) -> dict[tuple[str, Split], Outputs]:
    """Return the exported graph's outputs of every image that the winner was evaluated on."""
    session, _ = bundle.open_session(path)
    found = {}
    for domain, split in job.splits:
        images = job.cache.examples(domain, split).images
        if len(images):
            with progress_bar(f"ONNX Runtime on {domain} ({split}-split)") as progress:
                found[domain, split] = run_in_batches(partial(bundle.run_session, session), images, progress)
    return found


def _prove(job: _Job, graph: "ServedGraph", outputs: dict[tuple[str, Split], Outputs]) -> dict[str, Any]:
    """Compare all logits with the stored ones, and on out-splits every output with torch's."""
    from oodtune.export.onnx import run_torch

    tolerance = job.config.max_abs_difference
    stored, ours, theirs = {}, list[Outputs](), list[Outputs]()
    for (domain, split), found in outputs.items():
        examples = job.cache.examples(domain, split)
        assert examples.ids == job.predictions.ids(domain, split)
        expected = job.predictions.logits(job.winner, domain, split)
        name = f"{job.winner.name} on {domain} ({split}-split)"
        stored[f"{domain}-{split}"] = check_parity(found.logits, expected, tolerance, name)
        if split == "out":
            with progress_bar(f"torch on {domain} ({split}-split)") as progress:
                theirs.append(run_in_batches(partial(run_torch, graph), examples.images, progress))
            ours.append(found)
    closeness = check_outputs(join_outputs(ours), join_outputs(theirs), tolerance, job.winner.name)
    return {
        **merge_parities(list(stored.values())),
        "tolerance": tolerance,
        "per_split": {name: asdict(parity) for name, parity in stored.items()},
        "graph": {
            "num_images": sum(len(one.energy) for one in ours),
            "outputs": {name: asdict(close) for name, close in closeness.items()},
        },
    }


def _written_variants(out: Path) -> list[str]:
    return [variant for variant in get_args(Variant) if (out / bundle.model_path(variant)).is_file()]


def _write_golden(job: _Job, out: Path) -> None:
    from oodtune import golden

    encoded = golden.draw_golden()
    pixels = golden.pixels_of(job.source.network.preprocess, encoded)
    outputs = {}
    for variant in _written_variants(out):
        session, _ = bundle.open_session(out / bundle.model_path(variant))
        outputs[variant] = run_in_batches(partial(bundle.run_session, session), pixels)
    golden.write_golden(out / bundle.GOLDEN, encoded, pixels, outputs)
