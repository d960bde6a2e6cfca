"""Images decoded once: one uint8 array per domain, memory-mapped, shared between trials."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import PreprocessConfig
from oodtune.data.index import IndexRow, Split, classes_of, read_index
from oodtune.errors import DataError
from oodtune.preprocess import decode_image, preprocess
from oodtune.progress import Progress, silent


@dataclass(frozen=True)
class Examples:
    """One split of one domain, in the order of ids."""

    images: npt.NDArray[np.uint8]
    """(N, S, S, 3)"""
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
        """Return one split of one domain. Raises DataError if there is no such domain."""
        if domain not in self.domains:
            raise DataError(f"{self.artifact.path}: expected one of the domains {list(self.domains)}, found {domain!r}")
        rows = [row for row in self.rows if row.domain == domain]
        chosen = [place for place, row in enumerate(rows) if row.split == split]
        images = np.load(self.artifact.path / "images" / f"{domain}.npy", mmap_mode="r", allow_pickle=False)
        labels = [self.classes.index(rows[place].class_name) for place in chosen]
        return Examples(images[chosen], np.asarray(labels, np.int64), tuple(rows[place].id for place in chosen))

    def source_domains(self, target_domain: str) -> tuple[str, ...]:
        """Return every domain but the target. Raises DataError if the target is no domain of the cache."""
        if target_domain not in self.domains:
            raise DataError(
                f"{self.artifact.path}: expected a target domain among {list(self.domains)}, found {target_domain!r}"
            )
        return tuple(domain for domain in self.domains if domain != target_domain)


def open_cache(path: Path) -> Cache:
    """Open the `cache` artifact at `path`. Raises ArtifactError if it is not one."""
    artifact = open_artifact(path, "cache")
    rows = read_index(artifact.path / "index.csv")
    return Cache(
        artifact=artifact,
        classes=classes_of(rows),
        domains=tuple(artifact.details["domains"]),
        preprocess=PreprocessConfig.model_validate(artifact.details["preprocess"]),
        rows=tuple(rows),
    )


def decode_domain(
    images_dir: Path,
    rows: Sequence[IndexRow],
    config: PreprocessConfig,
    out_path: Path,
    progress: Progress = silent,
) -> None:
    """Write the pixels of `rows`, in their order, to `out_path` as one .npy array (N, S, S, 3)."""
    shape = (len(rows), config.size, config.size, 3)
    pixels = np.lib.format.open_memmap(out_path, mode="w+", dtype=np.uint8, shape=shape)

    def decode_into(place: int) -> None:
        pixels[place] = preprocess(decode_image(images_dir / rows[place].id), config)

    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the GIL
        for done, _ in enumerate(pool.map(decode_into, range(len(rows))), start=1):
            progress(done, len(rows), out_path.stem)
    pixels.flush()
