"""A new bundle against the one in production, on the new data: may it take its place?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from oodtune.artifact import Artifact, open_artifact
from oodtune.bundle import Bundle, open_bundle
from oodtune.config import PromoteConfig, PublishConfig, StageParams
from oodtune.data.index import IndexRow, domains_of, read_index
from oodtune.preprocess import decode_with_facts
from oodtune.progress import progress_bar
from oodtune.stages.in_production import fetch_production

_BATCH = 32
_ROUNDING = 1e-9

Right = npt.NDArray[np.bool_]
"""Whether each image was labelled right."""


class Params(StageParams):
    publish: PublishConfig
    promote: PromoteConfig


@dataclass(frozen=True)
class Comparison:
    """Accuracies on the out-splits of the domains that the new model was trained on, in percent."""

    old: Mapping[str, float]
    new: Mapping[str, float]
    only_old: int
    """Images that only the model in production labels right."""
    only_new: int

    @property
    def gain(self) -> float:
        """Points by which the mean over domains rises."""
        return float(np.mean(list(self.new.values())) - np.mean(list(self.old.values())))


def run(dataset: Path | str, bundle: Path | str, out: Path | str, params: Params) -> bool:
    """Write the comparison as Markdown to `out`; return whether the new bundle may take production's place.

    Both label the images of the new data's out-splits as the server would, from the files. The new model's target
    domain is left out: it chooses nothing. Images that the split has moved since production was trained may favour
    production, never the new model. With nothing in production the new one may; with other classes than production's
    it may not, because no accuracy compares the two: that is for people to decide.
    """
    opened, new = open_artifact(Path(dataset), "dataset"), open_bundle(Path(bundle))
    with TemporaryDirectory() as scratch:
        fetched = fetch_production(params.publish, Path(scratch))
        if fetched is None:
            return _decide(Path(out), True, ["Nothing is in production."])
        old = open_bundle(fetched)
        if set(old.classes) != set(new.classes):
            changed = ", ".join(sorted(set(old.classes) ^ set(new.classes)))
            why = f"The classes differ ({changed}): promote it with `oodtune promote` if that is meant."
            return _decide(Path(out), False, [why])
        found = _compare(opened, old, new)
    wanted = params.promote.min_gain
    return _decide(Path(out), found.gain >= wanted - _ROUNDING, _describe(found, fetched.name, wanted))


def _compare(dataset: Artifact, old: Bundle, new: Bundle) -> Comparison:
    target = new.lineage["target_domain"]
    rows = [row for row in read_index(dataset.path / "index.csv") if row.split == "out" and row.domain != target]
    right: dict[str, dict[str, Right]] = {"old": {}, "new": {}}
    with progress_bar("Compare") as progress:
        for done, domain in enumerate(domains := domains_of(rows)):
            progress(done, len(domains), domain)
            some = [row for row in rows if row.domain == domain]
            for name, model in (("old", old), ("new", new)):
                right[name][domain] = _label(dataset.path / "images", some, model)
    return Comparison(
        old={domain: 100.0 * float(found.mean()) for domain, found in right["old"].items()},
        new={domain: 100.0 * float(found.mean()) for domain, found in right["new"].items()},
        only_old=sum(int((right["old"][domain] & ~right["new"][domain]).sum()) for domain in domains),
        only_new=sum(int((right["new"][domain] & ~right["old"][domain]).sum()) for domain in domains),
    )


def _label(images_dir: Path, rows: Sequence[IndexRow], model: Bundle) -> Right:
    right: list[bool] = []
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        probabilities = model.classify([decode_with_facts(images_dir / row.id).image for row in some])
        labels = [model.classes[place] for place in probabilities.argmax(1)]
        right += [label == row.class_name for label, row in zip(labels, some, strict=True)]
    return np.array(right)


def _describe(found: Comparison, version: str, wanted: float) -> list[str]:
    table = [
        f"| domain (out-split) | in production, {version} | new |",
        "|---|---:|---:|",
        *(f"| {domain} | {found.old[domain]:.1f} | {found.new[domain]:.1f} |" for domain in found.old),
        "",
    ]
    return [
        *table,
        f"Gain {found.gain:+.2f} points on the mean of domains; at least {wanted:+.2f} is asked for.",
        f"{found.only_new} images only the new one labels right, {found.only_old} only the old one.",
    ]


def _decide(out: Path, may: bool, lines: Sequence[str]) -> bool:
    text = "\n".join([f"# {'May take' if may else 'Does not take'} production's place", "", *lines]) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(text)
    return may
