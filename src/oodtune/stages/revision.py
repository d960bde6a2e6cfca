"""Which commit of the data a run is about: asked once, at its start, and handed to all that follows."""

from pathlib import Path
from tempfile import TemporaryDirectory

from oodtune.config import DataConfig, StageParams


class Params(StageParams):
    data: DataConfig


def run(params: Params, data_rev: str = "") -> str:
    """Return the commit that `data_rev`, or else `data.dvc.rev`, is now; an empty text for sources without revisions.

    A branch or a tag moves: a cluster that remembers results by a name would miss new data. Raises UserError if the
    repository cannot be read or has no such revision, ConfigError for a revision of another source.
    """
    data = params.data.at_revision(data_rev) if data_rev else params.data
    if data.dvc is None:
        return ""
    from oodtune.data.sources.dvc_repo import resolve_revision

    with TemporaryDirectory() as scratch:
        return resolve_revision(data.dvc, Path(scratch))
