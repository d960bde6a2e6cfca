"""Images decoded once: one uint8 array per domain, memory-mapped, shared between trials."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import PreprocessConfig, held_out_domains
from oodtune.data.index import IndexRow, Split, classes_of, read_index
from oodtune.errors import DataError
from oodtune.pixels import PixelRows, Pixels


@dataclass(frozen=True)
class Examples:
    """One split of one domain, in the order of ids."""

    images: Pixels
    """(N, S, S, 3), uint8, on disk: a part is read when it is asked for."""
    labels: npt.NDArray[np.int64]
    """(N,)"""
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Cache:
    """An open `cache` artifact."""

    artifact: Artifact
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    preprocess: PreprocessConfig
    rows: tuple[IndexRow, ...]

    def examples(self, domain: str, split: Split) -> Examples:
        """Return one split of one domain; it may be empty. Raises DataError if there is no such domain."""
        if domain not in self.domains:
            raise DataError(f"{self.artifact.path}: expected one of the domains {list(self.domains)}, found {domain!r}")
        rows = [row for row in self.rows if row.domain == domain]
        chosen = [place for place, row in enumerate(rows) if row.split == split]
        labels = {name: label for label, name in enumerate(self.classes)}
        images = np.load(self.artifact.path / "images" / f"{domain}.npy", mmap_mode="r", allow_pickle=False)
        return Examples(
            images=PixelRows(images, np.asarray(chosen, np.int64)),
            labels=np.asarray([labels[rows[place].class_name] for place in chosen], np.int64),
            ids=tuple(rows[place].id for place in chosen),
        )

    def source_domains(self, target_domain: str) -> tuple[str, ...]:
        """Return every domain that trials of `target_domain` are trained on: all but it, or but both of a pair.

        Raises DataError if one of these is no domain of the cache, or if nothing is left.
        """
        held_out = held_out_domains(target_domain)
        for domain in held_out:
            if domain not in self.domains:
                raise DataError(
                    f"{self.artifact.path}: expected a target domain among {list(self.domains)}, found {domain!r}"
                )
        sources = tuple(domain for domain in self.domains if domain not in held_out)
        if not sources:
            raise DataError(
                f"{self.artifact.path}: expected a domain beside {target_domain} to train on, found none; hold out "
                "fewer"
            )
        return sources


def open_cache(path: Path) -> Cache:
    """Open the `cache` artifact at `path`. Raises ArtifactError if it is not one.

    Its files are hashed once, not by every trial: see `open_artifact`.
    """
    artifact = open_artifact(path, "cache", verify="once")
    rows = read_index(artifact.path / "index.csv")
    return Cache(
        artifact=artifact,
        classes=classes_of(rows),
        domains=tuple(artifact.details["domains"]),
        preprocess=PreprocessConfig.model_validate(artifact.details["preprocess"]),
        rows=tuple(rows),
    )
