"""What the sweep pipeline is told."""

from oodtune.config import Config, canonical_json
from oodtune.stages import cache, combine, evaluate, export, init, prepare, report, select


def pipeline_arguments(config: Config, commit: str = "") -> dict[str, str]:
    """Return the arguments of the sweep pipeline by name.

    Every stage gets the canonical JSON of its own sections, so that a cluster's cache reacts to nothing
    else. Only `plan` sees the whole: what it returns holds for each trial the settings of that trial.
    `commit` names the code and settings in the bundle's lineage; empty where git knows none.
    """
    return {
        "config": canonical_json(config.model_dump(mode="json")),
        "downloads_dir": str(prepare.DOWNLOADS_DIR),
        "prepare_params": prepare.Params.from_config(config).to_json(),
        "cache_params": cache.Params.from_config(config).to_json(),
        "init_params": init.Params.from_config(config).to_json(),
        "combine_params": combine.Params.from_config(config).to_json(),
        "evaluate_params": evaluate.Params.from_config(config).to_json(),
        "select_params": select.Params.from_config(config).to_json(),
        "export_params": export.Params.from_config(config).to_json(),
        "commit": commit,
        "report_params": report.Params.from_config(config).to_json(),
    }
