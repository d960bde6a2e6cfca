"""Logits that an older `predictions` artifact has: a new seed, or a new metric, computes no old model again."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from oodtune import __version__
from oodtune.artifact import open_artifact
from oodtune.errors import ArtifactError
from oodtune.evaluate.predictions import Model, Split, logits_file, open_predictions


class KnownLogits:
    """The logits in the artifact at `path` that were computed of the cache with `cache_digest`, by weights."""

    def __init__(self, path: Path, cache_digest: str) -> None:
        self._path = path
        self._models: dict[tuple[str, tuple[str, ...]], Model] = {}
        try:
            artifact = open_artifact(path, "predictions")
            models = open_predictions(path).models if artifact.manifest.version == __version__ else ()
        except ArtifactError:  # there is none, or it is damaged: everything is computed
            return
        except ValueError:  # of an older form
            return
        if artifact.manifest.inputs.get("cache") == cache_digest:
            self._models = {(model.target_domain, model.weights): model for model in models if model.weights}

    def copy(self, model: Model, splits: Sequence[tuple[str, Split]], directory: Path) -> bool:
        """Copy the logits of a single network with the weights of `model` into `directory`; False if unknown."""
        known = self._models.get((model.target_domain, model.weights))
        if known is None:
            return False
        for domain, split in splits:
            target = directory / logits_file(model, domain, split)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path / logits_file(known, domain, split), target)
        return True
