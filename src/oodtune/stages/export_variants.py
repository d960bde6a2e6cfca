"""Graphs of lower precision beside the fp32 one of a bundle: each made, compared, and kept or refused."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from oodtune import bundle
from oodtune.artifact import ArtifactWriter, write_json
from oodtune.bundle import Outputs
from oodtune.config import ExportConfig
from oodtune.config.export import ReducedPrecision
from oodtune.data.cache import Cache
from oodtune.domain_scores import DomainScores
from oodtune.evaluate.predictions import Split
from oodtune.export.half import convert_half
from oodtune.export.parity import join_outputs, run_in_batches
from oodtune.export.quantise import draw_calibration, quantise
from oodtune.export.variants import Loss, Speed, compare, describe_machine, measure_speed, refusal
from oodtune.progress import Progress, progress_bar
from oodtune.stages.export_domains import measure_domains

LATENCY: Final = "latency.json"
"""A measurement: it lies in the bundle and is not listed in its manifest."""
BySplit = Mapping[tuple[str, Split], Outputs]
_MAKE: Final[dict[ReducedPrecision, Callable[[Path, npt.NDArray[np.uint8], Path, Progress], None]]] = {
    "fp16": convert_half,
    "int8": quantise,
}


@dataclass(frozen=True)
class Exported:
    """The fp32 graph of a bundle in the making, and what it says."""

    cache: Cache
    outputs: BySplit
    """Of every split that the winner was evaluated on."""
    scores: DomainScores
    target_domain: str

    @property
    def sources(self) -> tuple[str, ...]:
        return self.scores.domains


def write_variants(writer: ArtifactWriter, exported: Exported, config: ExportConfig) -> dict[str, Any]:
    """Write the graph of each variant that `config` asks for and accepts, `variants.json` and `latency.json`.

    Returns the former: variant -> what it loses, and the scores of its own that it needs as its features lie elsewhere
    (`domains`). One that loses more than `config.max_accuracy_loss` on the out-split of any source domain is left out,
    and a line on stderr says so; the target domain's loss is reported and decides nothing. Empty, with no file, if
    none is asked for.
    """
    if not config.variants:
        return {}
    in_splits = {domain: exported.cache.examples(domain, "in").images for domain in exported.sources}
    calibration = draw_calibration(in_splits)
    found: dict[str, Any] = {}
    for variant in sorted(set(config.variants)):
        path = writer.path / bundle.model_path(variant)
        path.parent.mkdir(parents=True)
        with progress_bar(f"{variant}: calibration") as progress:
            _MAKE[variant](writer.path / bundle.model_path(), calibration, path, progress)
        found[variant] = _judge(variant, path, exported, config)
        if not found[variant]["accepted"]:
            _show(f"{variant} is left out: {found[variant]['refusal']}")
            _remove(path)
    write_json(writer.path / bundle.VARIANTS, found)
    accepted = [variant for variant in found if found[variant]["accepted"]]
    write_json(writer.path / LATENCY, _time(writer.path, ["fp32", *accepted], exported.cache.preprocess.size))
    writer.unlisted.add(LATENCY)
    return found


def _judge(variant: str, path: Path, exported: Exported, config: ExportConfig) -> dict[str, Any]:
    session, _ = bundle.open_session(path)
    outputs, losses = {}, {}
    for (domain, split), expected in exported.outputs.items():
        examples = exported.cache.examples(domain, split)
        with progress_bar(f"{variant} on {domain} ({split}-split)") as progress:
            found = run_in_batches(partial(bundle.run_session, session), examples.images, progress)
        outputs[domain, split] = found
        losses[domain, split] = compare(found, expected, examples.labels)
    deciding = {domain: losses[domain, "out"] for domain in exported.sources}
    reason = refusal(deciding, config.max_accuracy_loss)
    held_out = [loss for (domain, _), loss in losses.items() if domain not in exported.sources]
    facts: dict[str, Any] = {
        "accepted": reason is None,
        "refusal": reason,
        "rule": f"at most {config.max_accuracy_loss:g} points lost on the out-split of every source domain",
        "worst_loss_points": max(loss.loss_points for loss in deciding.values()),
        "target_loss_points": _mean_loss(held_out),
        "per_split": {f"{domain}-{split}": asdict(loss) for (domain, split), loss in losses.items()},
        "num_bytes": path.stat().st_size,
    }
    if reason is None:
        scores = measure_domains(
            outputs, exported.sources, exported.target_domain, exported.cache.classes, config.false_alarms
        )
        facts["domains"] = scores.model_dump(mode="json")
        facts["ood_score"] = _compare_scores(outputs, exported, scores)
    return facts


def _mean_loss(losses: list[Loss]) -> float | None:
    """Return the points lost over all images of several splits; None if there are none."""
    num_images = sum(loss.num_images for loss in losses)
    return sum(loss.loss_points * loss.num_images for loss in losses) / num_images if num_images else None


def _compare_scores(outputs: BySplit, exported: Exported, scores: DomainScores) -> dict[str, float]:
    """Return how far OOD scores of source out-splits move, on average, and how many exceed the limit, as a share:
    on the scale of fp32 and on the variant's own."""
    ours = join_outputs([outputs[domain, "out"] for domain in exported.sources]).domain_distances.min(axis=1)
    theirs = join_outputs([exported.outputs[domain, "out"] for domain in exported.sources]).domain_distances.min(axis=1)
    before = exported.scores.score(theirs)
    found = {}
    for name, scale in (("fp32_scale", exported.scores), ("own_scale", scores)):
        after = scale.score(ours)
        found[f"mean_abs_change_{name}"] = float(np.abs(after - before).mean())
        found[f"flagged_{name}"] = float((after > scale.max_score).mean())
    return found


def _time(out: Path, variants: list[str], image_size: int) -> dict[str, Any]:
    paths = {variant: out / bundle.model_path(variant) for variant in variants}
    sessions = {variant: bundle.open_session(path, num_threads=1)[0] for variant, path in paths.items()}
    speeds = measure_speed(sessions, image_size)
    for speed in speeds:
        if speed.of_fp32 > 1.0:
            _show(_slower(speed))
    return {
        "machine": describe_machine(),
        "rule": "median of runs that take turns; spread: first to third quartile",
        "image_size": image_size,
        "speeds": [asdict(speed) for speed in speeds],
        "megabytes": {variant: path.stat().st_size / 1e6 for variant, path in paths.items()},
    }


def _slower(speed: Speed) -> str:
    devices = "GPUs" if speed.variant == "fp16" else "CPUs with 8-bit instructions"
    return (
        f"{speed.variant} takes {speed.of_fp32:.2f} times as long as fp32 on this CPU, batch {speed.batch} "
        f"({speed.image_ms:.2f} ms an image); it is for {devices}"
    )


def _show(text: str) -> None:
    print(f"variant {text}", file=sys.stderr)


def _remove(path: Path) -> None:
    """Remove a graph and its directories of the model repository."""
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
