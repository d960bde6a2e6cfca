"""Where a bundle comes from: data, commit, settings, selection, scores, versions."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from oodtune import bundle
from oodtune.artifact import Artifact
from oodtune.data.cache import Cache
from oodtune.stages.model_weights import Source
from oodtune.stages.trials import open_trials
from oodtune.trial import trial_of

_OF_SELECTION: Final = ("winner", "target_domain", "rule", "iid", "ood", "temperature")
_OF_SELECTION_IF_THERE: Final[dict[str, Any]] = {
    "per_domain": {}, "recipe": "", "constraints": {}, "scored_on": [], "margin": None, "reasons": [],
}  # fmt: skip


def describe_lineage(
    chosen: Mapping[str, Any], inputs: Mapping[str, Artifact], cache: Cache, source: Source, commit: str | None
) -> dict[str, Any]:
    """Return what `lineage.json` holds. `chosen` is `selection.json`; a path of this machine becomes its last part."""
    details = cache.artifact.details
    lineage = {
        **{name: chosen[name] for name in _OF_SELECTION},
        **{name: chosen.get(name, default) for name, default in _OF_SELECTION_IF_THERE.items()},
        "backbone": source.network.backbone,
        "commit": commit or None,  # Kubeflow knows no None
        "dataset": {
            "digest": cache.artifact.manifest.inputs.get("dataset"),
            "domains": list(cache.domains),
            **{name: details[name] for name in ("origins",) if name in details},
        },
        "params": {
            name: artifact.manifest.params
            for name, artifact in sorted(inputs.items())
            if artifact.manifest.kind != "trial"  # those are in `trials`
        },
        "inputs": {name: artifact.digest for name, artifact in sorted(inputs.items())},
        "versions": {name: importlib.metadata.version(name) for name in ("oodtune", "torch", "onnx")}
        | {"onnxruntime": bundle.runtime_version()},
    }
    anonymous: dict[str, Any] = without_paths(lineage)
    return anonymous


def describe_trials(names: Sequence[str], trials: Sequence[Path | str]) -> dict[str, Any]:
    """Return the settings of the trials `names`, or of those whose states they are, as far as `trials` holds them."""
    found = open_trials([path for path in trials if Path(path).is_dir()], verify=False)
    owners = sorted({trial_of(name) for name in names} & found.keys())
    described: dict[str, Any] = without_paths(
        {
            name: {
                "trial": found[name].record.trial.model_dump(mode="json"),
                "best_step": found[name].record.best_step,
                "params": found[name].artifact.manifest.params,
            }
            for name in owners
        }
    )
    return described


def without_paths(value: Any) -> Any:
    """Return `value` with the last part of every absolute path that it holds: a path names a machine and its user."""
    if isinstance(value, Mapping):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute() or value.startswith("~"):
                return kind(value).name
    return value
