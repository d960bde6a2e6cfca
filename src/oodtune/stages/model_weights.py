"""Where the weights of an evaluated model are, and whether artifacts belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import Artifact, open_artifact, verify_artifact
from oodtune.errors import ArtifactError
from oodtune.evaluate.predictions import Model
from oodtune.stages.trials import check_one_origin, open_trials, trial_inputs
from oodtune.trial import NetworkSpec, SoupRecord, trial_of


@dataclass(frozen=True)
class Source:
    """The weights of the chosen model: of one network, or of every member of an ensemble."""

    network: NetworkSpec
    weights: tuple[Path, ...]
    inputs: dict[str, Artifact]
    """Name -> the artifacts that hold them."""


def find_weights(winner: Model, trials: Sequence[Path | str], soups: Path) -> Source:
    """Return the weights files of a model. Raises ArtifactError if they are not in `trials` and `soups`."""
    if winner.kind == "soup":
        return _find_soup(winner, soups)
    names = winner.members if winner.kind == "ensemble" else (winner.name,)
    found = open_trials(trials, verify=False)
    owners = {name: found[owner] for name in names if (owner := trial_of(name)) in found}
    missing = [name for name in names if name not in owners]
    if missing:
        raise ArtifactError(
            f"expected the trials of {winner.name}, found no {', '.join(missing)}; pass the whole sweep"
        )
    members = list({owner.name: owner for owner in owners.values()}.values())
    for member in members:
        verify_artifact(member.artifact)
    check_one_origin(members)
    weights = tuple(owners[name].weights_of(name) for name in names)
    return Source(members[0].record.network, weights, trial_inputs(members))


def _find_soup(winner: Model, soups: Path) -> Source:
    opened = open_artifact(soups, "soup")
    record = SoupRecord.model_validate(opened.details)
    for soup in record.soups:
        if (soup.target_domain, soup.name) == (winner.target_domain, winner.name):
            return Source(record.network, (opened.path / soup.path,), {"soup": opened})
    raise ArtifactError(
        f"{soups}: expected {winner.name!r} of target domain {winner.target_domain!r}, found none; "
        "pass the soups that were evaluated"
    )


def check_made_from(product: Artifact, inputs: Mapping[str, Artifact], command: str) -> None:
    """Raise ArtifactError unless `product` was made from exactly these artifacts, among others."""
    for name, artifact in inputs.items():
        if product.manifest.inputs.get(name) != artifact.digest:
            raise ArtifactError(
                f"{product.path}: expected {product.manifest.kind} made from {artifact.path}, found one made "
                f"from another {name!r}; run `{command}` again"
            )
