"""How accuracy falls when images are corrupted: on source domains (iid) and on the target domain (ood)."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Self

from oodtune.config import Section

Cells = tuple[str, ...]

MODELS = ("model", "clean", "corrupted", "lost", "worst ood")
"""The headings of `summary`."""


class Accuracies(Section):
    """Shares, 0..1."""

    iid: float
    """Mean over the source domains."""
    ood: float
    """On all images of the target domain."""

    @classmethod
    def mean(cls, several: Iterable[Self]) -> Self:
        listed = list(several)
        return cls(iid=fmean(one.iid for one in listed), ood=fmean(one.ood for one in listed))


class CorruptedModel(Section):
    """One model: what it does on clean and on corrupted images."""

    name: str
    row: str
    """Its line in the table of all models."""
    kind: str
    clean: Accuracies
    corrupted: dict[str, tuple[Accuracies, ...]]
    """Corruption -> by severity."""
    by_corruption: dict[str, Accuracies]
    """Mean over the severities."""
    mean: Accuracies
    """Over corruptions and severities: one less the paper's mean corruption error that is not divided by AlexNet's."""
    lost: Accuracies
    """`clean` less `mean`: the paper's relative corruption error, not divided by AlexNet's."""

    @classmethod
    def of(
        cls, name: str, row: str, kind: str, clean: Accuracies, corrupted: Mapping[str, tuple[Accuracies, ...]]
    ) -> Self:
        by_corruption = {corruption: Accuracies.mean(values) for corruption, values in corrupted.items()}
        mean = Accuracies.mean(by_corruption.values())
        return cls(
            name=name,
            row=row,
            kind=kind,
            clean=clean,
            corrupted=dict(corrupted),
            by_corruption=by_corruption,
            mean=mean,
            lost=Accuracies(iid=clean.iid - mean.iid, ood=clean.ood - mean.ood),
        )


class Corruptions(Section):
    """`corruptions.json`: everything that was measured."""

    target_domain: str
    rule: str
    """By which the first of the models was selected."""
    size: int
    """Pixels a side of the images that were corrupted."""
    seed: int
    iid_split: str
    """Which splits of the source domains the images of iid are from."""
    num_images: dict[str, int]
    """Domain -> how many images of it."""
    severities: tuple[int, ...]
    models: tuple[CorruptedModel, ...]
    """The selected one comes first."""

    @property
    def corruptions(self) -> tuple[str, ...]:
        return tuple(self.models[0].corrupted)

    @property
    def caption(self) -> str:
        sources = {domain: num for domain, num in self.num_images.items() if domain != self.target_domain}
        counts = ", ".join(f"{domain} {num}" for domain, num in sources.items())
        chosen = "an oracle that looked at the target domain" if self.rule == "oracle" else f"the rule {self.rule}"
        return (
            f"Accuracy in %, iid / ood. The first model is the one selected by {chosen}. iid: mean over the "
            f"{self.iid_split}-splits of the source domains ({counts} images); ood: all "
            f"{self.num_images[self.target_domain]} images of {self.target_domain}; one model a row, so no spread over "
            f"seeds. corrupted: mean over {len(self.corruptions)} corruptions, each the mean over severities "
            f"{', '.join(map(str, self.severities))}; lost: clean less corrupted, in points; worst ood: the corruption "
            "with the lowest. Corruptions and severities are those of ImageNet-C (arXiv 1903.12261), made for 224 "
            f"pixels a side and applied here at {self.size}: compare models of one size with each other, not with "
            "figures for ImageNet-C."
        )

    def to_markdown(self) -> str:
        """Return the table of models, of corruptions, and of every severity."""
        names = [model.name for model in self.models]
        parts = [
            *_markdown(MODELS, summary(self)),
            "",
            self.caption,
            "",
            "## By corruption",
            "",
            "iid / ood, mean over severities:",
            "",
        ]
        parts += [*_markdown(("corruption", *names), [self._by_corruption(name) for name in self.corruptions])]
        for model in self.models:
            headings = ("corruption", *(f"severity {severity}" for severity in self.severities), "mean")
            rows = [
                (name, *map(_pair, model.corrupted[name]), _pair(model.by_corruption[name]))
                for name in self.corruptions
            ]
            parts += ["", f"## {model.name}", "", "iid / ood:", "", *_markdown(headings, rows)]
        return "\n".join(parts) + "\n"

    def _by_corruption(self, corruption: str) -> Cells:
        return (corruption, *(_pair(model.by_corruption[corruption]) for model in self.models))


def summary(found: Corruptions) -> list[Cells]:
    """Return a row per model."""
    return [(model.name, *_summarise(model)) for model in found.models]


def _summarise(model: CorruptedModel) -> Cells:
    worst = min(model.by_corruption, key=lambda name: model.by_corruption[name].ood)
    return (
        _pair(model.clean),
        _pair(model.mean),
        _pair(model.lost),
        f"{_percent(model.by_corruption[worst].ood)} {worst}",
    )


def _pair(accuracies: Accuracies) -> str:
    return f"{_percent(accuracies.iid)} / {_percent(accuracies.ood)}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _markdown(headings: Cells, rows: Sequence[Cells]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, *rows)]
    return [lines[0], "|---" + "|---:" * (len(headings) - 1) + "|", *lines[1:]]
