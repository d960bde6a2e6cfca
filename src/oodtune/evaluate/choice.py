"""What was chosen, by which rule, from what: `selection.json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from oodtune.config import Section
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.uncertainty import PairedDifference

RULES_IN_WORDS = {
    "source_out_split": "the highest mean accuracy on the out-splits of its source domains; "
    "the target domain was not looked at",
    "leave_one_source_domain_out": "how its recipe does on source domains that were held out in turn, along with the "
    "target; the target domain was not looked at",
    "fixed": "the highest mean accuracy on the out-splits of its source domains within a row that was named "
    "beforehand; the target domain was not looked at",
    "oracle": "its accuracy on the target domain itself: a ceiling for every rule, not an accuracy to expect",
}


class Pick(BaseModel):
    """The model that the rule picked for one target domain."""

    model_config = ConfigDict(frozen=True)

    name: str
    row: str
    kind: str
    iid: float
    ood: float
    scored_on: tuple[str, ...] = ()
    """The domains on which the rule compared the candidates."""


class Candidate(BaseModel):
    """One model that could have been chosen. Nothing here was measured on the target domain but for the oracle."""

    model_config = ConfigDict(frozen=True)

    name: str
    row: str
    recipe: str
    kind: str
    seen: float
    """What the rule ranked it by, a share."""
    out_accuracy: float
    """Mean accuracy on the source out-splits, a share."""
    num_networks: int
    num_bytes: int
    kept_out_by: str | None = None
    """The key of `select` that it misses; None if it could be chosen."""


class Margin(Section):
    """How much better than the baseline the chosen recipe is, by what the rule goes by."""

    recipe: str
    baseline: str
    """The recipe of the baseline's row that is best by the same accuracies."""
    difference: PairedDifference
    """In points, over runs (domain, seed) that both have; where one has no seeds, over domains."""


class Choice(BaseModel):
    """`selection.json`: the model that ships, and why. Accuracies are shares, 0..1."""

    model_config = ConfigDict(frozen=True)

    target_domain: str
    rule: str
    winner: Model
    temperature: float
    iid: float
    ood: float
    picks: dict[str, Pick]
    """By target domain; one that the rule has no pick for is missing."""
    reasons: tuple[str, ...]
    """Sentences."""
    per_domain: dict[str, float] = {}
    recipe: str = ""
    """How the winner is made, whatever its seed."""
    constraints: dict[str, Any] = {}
    """Those of `select` that are set."""
    candidates: tuple[Candidate, ...] = ()
    """The rule's ranking for `target_domain`, the best first."""
    scored_on: tuple[str, ...] = ()
    """As of the pick for `target_domain`."""
    margin: Margin | None = None
    """Over the baseline; None if it was not measured on the same domains and seeds."""
    refused: str | None = None
    """Why even the winner is not what `select` asks for: it is not to ship. None if it is."""

    @property
    def rule_in_words(self) -> str:
        return RULES_IN_WORDS.get(self.rule, f"the rule {self.rule}")

    @property
    def is_ceiling(self) -> bool:
        """True if it was chosen by a look at the target domain: nothing that could be known beforehand."""
        return self.rule == "oracle"
