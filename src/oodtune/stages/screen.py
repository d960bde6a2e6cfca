"""`cache` -> `screen`: which dropout rate and which backbone to try, from frozen features alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator

from oodtune.artifact import create_artifact, write_json
from oodtune.config import BackboneConfig, Config, Name, StageParams
from oodtune.data.cache import Cache, open_cache
from oodtune.errors import ConfigError, DataError
from oodtune.evaluate.screen_plot import draw_screen
from oodtune.evaluate.screening import BackboneScreen, Curve, Fold, Screen, TargetScreen, rank
from oodtune.progress import Progress, progress_bar
from oodtune.stages.features import Features, SplitFeatures, extract_features, pretrained_network
from oodtune.train.dropout_path import DropoutPath, Moments, add_moments, fit_path, solve_path

RATES = (0.0, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
LEAST_DOMAINS = 3
"""A target domain, a source domain to leave out, and one to fit to."""

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class Params(StageParams):
    backbones: Annotated[tuple[BackboneConfig, ...], Field(min_length=1)]
    """Each is ranked; by default the one of section `backbone`."""
    rates: Annotated[tuple[Rate, ...], Field(min_length=2)] = RATES
    """Dropout rates, ascending from 0, which the others are compared with."""
    target_domains: Annotated[tuple[Name, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rates_ascend_from_zero(self) -> Self:
        if self.rates[0] != 0.0 or list(self.rates) != sorted(set(self.rates)):
            raise ValueError(f"rates: expected dropout rates that ascend from 0, found {list(self.rates)}")
        return self

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(backbones=(config.backbone,), target_domains=config.sweep.target_domains)


def choose_backbones(
    default: BackboneConfig, names: Sequence[str], weights: Sequence[str]
) -> tuple[BackboneConfig, ...]:
    """Return a backbone for each of `names`, without any the default one; `weights` is one for all or one for each.

    Raises ConfigError if their numbers do not fit, or a backbone comes twice.
    """
    names, weights = list(names) or [default.name], list(weights) or [default.weights]
    if len(weights) not in (1, len(names)):
        raise ConfigError(
            f"weights: expected one for all backbones or one for each of {len(names)}, found {len(weights)}; "
            "repeat --weights once per --backbone"
        )
    paired = zip(names, weights * (len(names) if len(weights) == 1 else 1), strict=True)
    backbones = tuple(BackboneConfig(name=name, weights=source) for name, source in paired)
    twice = [one.name for one, count in Counter(backbones).items() if count > 1]
    if twice:
        raise ConfigError(f"backbone: expected each once, found {twice[0]!r} twice with equal weights; name it once")
    return backbones


def run(cache: Path | str, out: Path | str, params: Params, device: str = "auto") -> None:
    """Write a `screen` artifact: numbers, tables and pictures of accuracy against dropout rate.

    For target t and source s, heads are fitted to the in-splits of the other domains and scored on s (ood)
    and on the out-splits they were fitted beside (iid): no image of t is used for t. A test-split is never used.
    Memory: features in float32, (domains + 6) times D * D numbers of float64, and what is scored at a time.
    Raises DataError with fewer than three domains, ConfigError if a backbone cannot be had.
    """
    opened = open_cache(Path(cache))
    _require_domains(opened, params.target_domains)
    for backbone in params.backbones[1:]:
        pretrained_network(opened, backbone)  # one that cannot be had is found before any work
    with create_artifact(Path(out), "screen", params, {"cache": opened.artifact}) as writer:
        screen = Screen(
            rates=params.rates,
            backbones=rank(_screen_backbone(opened, backbone, params, device) for backbone in params.backbones),
        )
        write_json(writer.path / "screen.json", screen.model_dump(mode="json"))
        (writer.path / "screen.png").write_bytes(draw_screen(screen))
        (writer.path / "screen-dark.png").write_bytes(draw_screen(screen, "dark"))
        (writer.path / "table.md").write_text(screen.to_markdown(), encoding="utf-8")
        best = screen.backbones[0]
        suggestion = best.curve.suggestion.model_dump(mode="json")
        writer.details.update(backbone=best.name, weights=best.weights, suggestion=suggestion)


def _require_domains(cache: Cache, targets: Sequence[str]) -> None:
    for target in targets:
        cache.source_domains(target)
    if len(cache.domains) < LEAST_DOMAINS:
        raise DataError(
            f"{cache.artifact.path}: expected {LEAST_DOMAINS} domains or more (a target, one to leave out, one to fit "
            f"to), found {len(cache.domains)} ({', '.join(cache.domains)}); add one, or choose a rate by iid accuracy"
        )


def _screen_backbone(cache: Cache, backbone: BackboneConfig, params: Params, device: str) -> BackboneScreen:
    shared = Counter(one.name for one in params.backbones)[backbone.name] > 1
    label = f"{backbone.name} ({backbone.weights})" if shared else backbone.name
    features = extract_features(pretrained_network(cache, backbone), cache, device, f"Features of {label}")
    with progress_bar(f"Heads on {label}") as progress:
        folds = _leave_out(features, cache, params, progress)
    targets = tuple(
        TargetScreen(target_domain=target, folds=tuple(folds[target]), curve=Curve.of(folds[target], params.rates))
        for target in params.target_domains
    )
    return BackboneScreen(
        label=label,
        name=backbone.name,
        weights=backbone.weights,
        num_features=next(iter(features.values())).features.shape[1],
        targets=targets,
        curve=Curve.of([fold for target in targets for fold in target.folds], params.rates),
    )


def _leave_out(features: SplitFeatures, cache: Cache, params: Params, progress: Progress) -> dict[str, list[Fold]]:
    """Return target domain -> a fold for each of its source domains.

    Without a and b, one path of heads serves target a with b left out and target b with a left out.
    """
    inner = {domain: features[domain, "in"] for domain in cache.domains}
    moments = {name: Moments.of(*part, num_classes=len(cache.classes)) for name, part in inner.items()}
    pairs = [pair for pair in combinations(cache.domains, 2) if not set(pair).isdisjoint(params.target_domains)]
    folds: dict[str, list[Fold]] = defaultdict(list)
    for number, pair in enumerate(pairs, 1):
        sources = [domain for domain in cache.domains if domain not in pair]
        path = _fit(inner, moments, sources)
        outer = [path.accuracies(*features[domain, "out"], params.rates) for domain in sources]
        iid = tuple(fmean(at_rate) for at_rate in zip(*outer, strict=True))
        for target, left_out in (pair, pair[::-1]):
            if target in params.target_domains:
                whole = _whole_domain(features, left_out)
                folds[target].append(Fold(left_out=left_out, ood=tuple(path.accuracies(*whole, params.rates)), iid=iid))
        progress(number, len(pairs), "sets of source domains")
    return folds


def _fit(inner: Mapping[str, Features], moments: Mapping[str, Moments], sources: Sequence[str]) -> DropoutPath:
    """Fit to the in-splits of `sources`; their moments add up, so no image is read again unless there are few."""
    total = add_moments([moments[domain] for domain in sources])
    if total.count >= len(total.mean):
        return solve_path(total)
    together = [torch.cat(parts) for parts in zip(*(inner[domain] for domain in sources), strict=True)]
    return fit_path(together[0], together[1], len(total.class_counts))


def _whole_domain(features: SplitFeatures, domain: str) -> Features:
    inner, outer = features[domain, "in"], features[domain, "out"]
    return Features(torch.cat([inner.features, outer.features]), torch.cat([inner.labels, outer.labels]))
