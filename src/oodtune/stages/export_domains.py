"""The training domains as a bundle knows them: Gaussians of features, and what the graph says of their images."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from oodtune.bundle import Outputs
from oodtune.data.cache import Cache
from oodtune.domain_scores import DomainScores, Floats, measure_scores
from oodtune.errors import DataError
from oodtune.evaluate.predictions import Split
from oodtune.export.domains import DomainGaussians, fit_domains
from oodtune.export.parity import join_outputs
from oodtune.model.device import choose_device
from oodtune.model.inference import map_images
from oodtune.model.network import Network
from oodtune.pixels import PixelRows, Pixels
from oodtune.progress import progress_bar

MAX_IMAGES: Final = 2000
"""Of one domain, that its Gaussian is fitted to."""
_SEED: Final = 0
BySplit = Mapping[tuple[str, Split], Outputs]


def fit_gaussians(networks: Sequence[Network], cache: Cache, sources: Sequence[str]) -> tuple[DomainGaussians, ...]:
    """Fit the training domains, one set for every network, to penultimate features of their in-splits.

    On the GPU if there is one. Raises DataError if a domain has fewer than two such images.
    """
    images = {domain: sample_images(cache, domain) for domain in sources}
    device = choose_device("auto")
    fitted = []
    for number, network in enumerate(networks, start=1):
        network.to(device)
        features = {}
        for domain, chosen in images.items():
            with progress_bar(f"features of {domain}, network {number} of {len(networks)}") as progress:
                features[domain] = map_images(network.features, chosen, device, progress=progress).numpy()
        fitted.append(fit_domains(features))
        network.cpu()
    return tuple(fitted)


def sample_images(cache: Cache, domain: str, count: int = MAX_IMAGES) -> Pixels:
    """Return images of the in-split of a domain, at most `count`, always the same ones.

    Raises DataError if there are fewer than two.
    """
    images = cache.examples(domain, "in").images
    if len(images) < 2:
        raise DataError(
            f"{cache.artifact.path}: expected two or more images in the in-split of {domain}, which say how far an "
            f"image is from it, found {len(images)}; add images of it"
        )
    chosen = np.random.default_rng(_SEED).permutation(len(images))[:count]
    return PixelRows(images, np.sort(chosen))


def measure_domains(
    outputs: BySplit, sources: Sequence[str], target_domain: str, classes: Sequence[str], false_alarms: float
) -> DomainScores:
    """Measure the scores on the source out-splits, and how well they tell the images of the target domain from them.

    `false_alarms`, a share, is that of source images which count as out of domain. Nothing depends on the target
    domain but `detection`. Raises DataError if a source domain has no out-split.
    """
    missing = [domain for domain in sources if (domain, "out") not in outputs]
    if missing:
        raise DataError(
            f"expected images in the out-split of every training domain, which set the scale of the OOD score, found "
            f"none of {', '.join(missing)}; raise data.out_fraction or add images, and run `oodtune prepare` again"
        )
    ours = join_outputs([outputs[domain, "out"] for domain in sources])
    theirs = [found for (domain, _), found in outputs.items() if domain == target_domain]
    scores = measure_scores(
        tuple(sources), tuple(classes), ours.probabilities, ours.energy, ours.domain_distances,
        _detection(ours, join_outputs(theirs), target_domain, false_alarms) if theirs else None,
    )  # fmt: skip
    return scores.model_copy(update={"max_score": 1.0 - false_alarms})


def rank_auroc(ours: Floats, theirs: Floats) -> float:
    """Return the chance, 0..1, that one of `theirs` exceeds one of `ours`, ties one half: the Mann-Whitney statistic.

    Both are (N,), N > 0, finite.
    """
    _, group, sizes = np.unique(np.concatenate([ours, theirs]), return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2.0  # 1..N; ties share their mean rank
    above = ranks[group][len(ours) :].sum() - len(theirs) * (len(theirs) + 1) / 2.0
    return float(above / (len(ours) * len(theirs)))


def _detection(ours: Outputs, theirs: Outputs, target_domain: str, false_alarms: float) -> dict[str, Any]:
    found: dict[str, Any] = {"domain": target_domain, "num_images": len(theirs.energy)}
    for name, of in (("distance", _distance), ("energy", _energy)):
        inside, outside = of(ours), of(theirs)
        limit = np.percentile(inside, 100.0 * (1.0 - false_alarms))
        found[name] = {"auroc": rank_auroc(inside, outside), "flagged": float((outside > limit).mean())}
    return found


def _distance(outputs: Outputs) -> npt.NDArray[np.float32]:
    nearest: npt.NDArray[np.float32] = outputs.domain_distances.min(axis=1)
    return nearest


def _energy(outputs: Outputs) -> npt.NDArray[np.float32]:
    return outputs.energy
