"""What the pipelines are told."""

from hashlib import sha256

from oodtune.config import Config, canonical_json
from oodtune.stages import (
    cache,
    combine,
    compare,
    deploy,
    due,
    evaluate,
    export,
    init,
    notify,
    plan,
    prepare,
    publish,
    report,
    revision,
    select,
)

STAGES = {
    "revision": revision,
    "prepare": prepare,
    "cache": cache,
    "init": init,
    "plan": plan,
    "combine": combine,
    "evaluate": evaluate,
    "select": select,
    "report": report,
    "export": export,
    "publish": publish,
    "deploy": deploy,
    "notify": notify,
}
ONLY_RETRAIN = {"due": due, "compare": compare}


def sweep_arguments(
    config: Config, commit: str = "", data_rev: str = "", shared_dir: str | None = None
) -> dict[str, str]:
    """Return the arguments of the sweep pipeline by name.

    Every stage gets the canonical JSON of its own sections, so that a cluster's cache reacts to nothing else.
    `commit` names the code and settings in the bundle's lineage; empty where git knows none. `data_rev` goes before
    `data.dvc.rev`; empty: that. `shared_dir`: where tasks share images and trials; None: the volume of
    `resources`, or nothing.
    """
    volume = config.resources.volume
    return {
        "data_rev": data_rev,
        "shared_dir": shared_dir if shared_dir is not None else (volume.mount_path if volume else ""),
        "downloads_dir": str(prepare.DOWNLOADS_DIR),
        "commit": commit,
        "config_digest": digest_config(config),
        **{f"{name}_params": stage.Params.from_config(config).to_json() for name, stage in STAGES.items()},
    }


def retrain_arguments(
    config: Config, commit: str = "", data_rev: str = "", shared_dir: str | None = None
) -> dict[str, str]:
    """Return the arguments of the retrain pipeline by name: the sweep's, and those of what only it does."""
    more = {f"{name}_params": stage.Params.from_config(config).to_json() for name, stage in ONLY_RETRAIN.items()}
    return sweep_arguments(config, commit, data_rev, shared_dir) | more


def digest_config(config: Config) -> str:
    """Return the sha256 of the settings: equal settings, equal digest."""
    return sha256(canonical_json(config.model_dump(mode="json")).encode()).hexdigest()
