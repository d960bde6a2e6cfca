"""Settings of what follows training: soups and ensembles, selection, export, serving, the report."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oodtune.config.section import Fraction, Name, Probability, Section

SoupRule = Literal["uniform", "greedy", "greedy_not_worse", "model_stock"]
SelectionRule = Literal["source_out_split", "leave_one_source_domain_out", "fixed", "oracle"]
ModelKind = Literal["trial", "soup", "ensemble"]
EnsembleRule = Literal["logit", "probability"]


class CombineConfig(Section):
    """What is made of the trials of each target domain, beside the trials themselves."""

    soups: tuple[SoupRule, ...] = ("uniform", "greedy")
    """Averages of the weights of all trials; greedy ones are chosen on the source out-splits."""
    by_method: bool = True
    """A uniform soup and ensembles of each method's trials, too, if it has two or more."""
    shares: tuple[Fraction, ...] = ()
    """Shares of the way from the initial state to each method's soup (WiSE-FT), and from plain's to the others'."""
    ensembles: tuple[EnsembleRule, ...] = ("logit",)
    """What is averaged over all trials, over those of a method, and along a trajectory that was kept."""

    @model_validator(mode="after")
    def _no_value_twice(self) -> Self:
        for name in ("soups", "shares", "ensembles"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"combine.{name} names a value twice: {list(values)}")
        return self


class SelectConfig(Section):
    """How one model is chosen, and what it must be: without such a model, none is chosen."""

    rule: SelectionRule = "source_out_split"
    """By which accuracy. All but `oracle` choose without an image of the target domain."""
    target_domain: Name
    """The model that ships is chosen among those trained without this domain."""
    row: Annotated[str, Field(min_length=1)] | None = None
    """For the rule `fixed`: the row of the table that it picks from (`large_dropout`, `uniform_soup`, ...)."""
    kinds: Annotated[tuple[ModelKind, ...], Field(min_length=1)] = ("trial", "soup", "ensemble")
    """What may be chosen."""
    max_networks: Annotated[int, Field(ge=1)] | None = None
    """That compute one prediction: all members of an ensemble do. null: any number."""
    max_megabytes: Annotated[float, Field(gt=0.0)] | None = None
    """Of all weights of the model, in millions of bytes; null: any size."""
    min_iid: Probability | None = None
    """Least mean accuracy on the source out-splits, a share; null: any. Test-splits choose nothing."""
    baseline: Annotated[str, Field(min_length=1)] = "plain"
    """The row that the choice is compared with."""
    min_margin: float | None = None
    """Least gain of the chosen recipe over the baseline's best, in points of what the rule goes by; null: any."""
    margin_level: Fraction | None = None
    """Let the lower end of the gain's t-interval at this level reach min_margin, too; null: the mean suffices."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.rule == "fixed") != (self.row is not None):
            raise ValueError(
                f"select.row: expected the row to pick with rule fixed, and null with any other; found {self.row!r} "
                f"with rule {self.rule}"
            )
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"select.kinds names a kind twice: {list(self.kinds)}")
        if self.margin_level is not None and self.min_margin is None:
            raise ValueError("select.margin_level: expected a min_margin for the interval to reach, found null; set it")
        return self


class PromoteConfig(Section):
    """When a new model takes the place of the one in production."""

    min_gain: float = 0.0
    """Least gain in accuracy over it, in points, on out-splits that neither was trained on; may be negative."""


class NotifyConfig(Section):
    """Who is told how a run on a cluster ended."""

    url: Annotated[str, Field(pattern=r"^https?://[^/]")] | None = None
    """Gets a POST of JSON with a `text`, as chat services take it; null: nobody."""


class ReportConfig(Section):
    title: str = "oodtune report"
    mistakes: Annotated[int, Field(ge=0, le=24)] = 16
    """Images of the target domain that the report holds: the wrong answers the model was surest of; 0: none."""
