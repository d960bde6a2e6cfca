"""Rules that choose a model for a target domain, each a function of the accuracies that it may see.

A rule that must not look at the target domain is not handed its numbers: it cannot look even by mistake.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from oodtune.config import held_out_domains
from oodtune.config.release import SelectionRule
from oodtune.errors import ArtifactError, ConfigError
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.scores import Score

Run = tuple[str, int | None]
"""(held-out domain, seed) of a measured accuracy; the seed of what is made of several trials is None."""

Observed = Mapping[str, Mapping[Run, float]]
"""Accuracies that a rule goes by: recipe -> run -> share."""

_COST = {"trial": 0, "soup": 1, "ensemble": 2}
"""Cheapest to explain and serve first: breaks ties."""


@dataclass(frozen=True)
class Ranked:
    model: Model
    seen: float
    """The accuracy that the rule ranked it by, 0..1."""


def source_out_split(out_accuracy: Mapping[Model, float]) -> list[Ranked]:
    """Rank models by their mean accuracy on the source out-splits, the best first.

    DomainBed's training-domain validation (Gulrajani & Lopez-Paz, arXiv 2007.01434, section 3.3).
    All models must be of one target domain: only those share their source out-splits. Ties go to a single
    trial before a soup before an ensemble, then to the first name.
    """
    assert len({model.target_domain for model in out_accuracy}) <= 1
    best_first = sorted(out_accuracy, key=lambda model: (-out_accuracy[model], _COST[model.kind], model.name))
    return [Ranked(model, out_accuracy[model]) for model in best_first]


def leave_one_source_domain_out(out_accuracy: Mapping[Model, float], left_out: Observed) -> list[Ranked]:
    """Rank models by how their recipes do on source domains that were held out along with the target.

    DomainBed's leave-one-domain-out cross-validation (Gulrajani & Lopez-Paz, arXiv 2007.01434, section 3.3).
    `left_out` has accuracies of other models, trained by the same recipes without the target and without the domain
    of the run: their mean over runs, and then over domains, is the recipe's score. Recipes that were not scored on
    every domain are left out. Ties of recipes go to the cheaper kind, then to the first name; within a recipe the
    accuracy on the source out-splits ranks. Empty if no recipe of the models was scored on every domain.
    """
    scores = {recipe: mean_over_domains(left_out[recipe]) for recipe in complete_recipes(left_out)}
    best_first = sorted(
        (model for model in out_accuracy if model.recipe in scores),
        key=lambda model: (
            -scores[model.recipe],
            _COST[model.kind],
            model.recipe,
            -out_accuracy[model],
            model.name,
        ),
    )
    return [Ranked(model, scores[model.recipe]) for model in best_first]


def fixed(out_accuracy: Mapping[Model, float], row: str) -> list[Ranked]:
    """Rank the models of a row that was named beforehand: settings and seeds, by their source out-splits.

    Raises ConfigError if no model is of this row.
    """
    rows = sorted({model.row for model in out_accuracy})
    if row not in rows:
        raise ConfigError(f"select.row: expected one of {', '.join(rows)}; found {row!r}; name one that was evaluated")
    return source_out_split({model: value for model, value in out_accuracy.items() if model.row == row})


def oracle(ood_accuracy: Mapping[Model, float]) -> list[Ranked]:
    """Rank models by their accuracy on the target domain itself: a ceiling for every rule, and no choice.

    DomainBed's test-domain validation (Gulrajani & Lopez-Paz, arXiv 2007.01434, section 3.3).
    """
    return source_out_split(ood_accuracy)


def rank(scores: Sequence[Score], target: str, rule: SelectionRule, row: str | None = None) -> list[Ranked]:
    """Rank the models of a target domain by `rule`, handing it only what it may see; `row` is for `fixed`.

    Raises ArtifactError if `leave_one_source_domain_out` has nothing to go by; ConfigError of an unknown row.
    """
    own = [score for score in scores if score.model.target_domain == target]
    out_accuracy = {score.model: score.out_accuracy for score in own}
    if rule == "oracle":
        return oracle({score.model: score.ood for score in own})
    if rule == "fixed":
        assert row is not None
        return fixed(out_accuracy, row)
    if rule == "source_out_split":
        return source_out_split(out_accuracy)
    left_out = observe(scores, target, rule)
    if not left_out:
        domains = sorted({domain for score in own for domain in score.per_domain} - {target})
        raise ArtifactError(
            f"select.rule {rule}: expected models trained without {target} and one more domain, found none; add "
            f"{', '.join(f'{target}+{domain}' for domain in domains)} to sweep.target_domains and train their trials"
        )
    ranked = leave_one_source_domain_out(out_accuracy, left_out)
    if not ranked:
        raise ArtifactError(
            f"select.rule {rule}: expected a recipe of {target}'s models that was scored on each of "
            f"{', '.join(domains_of(left_out))}, found none; train the missing trials of the pairs, then evaluate again"
        )
    return ranked


def observe(scores: Sequence[Score], target: str, rule: SelectionRule) -> Observed:
    """Return the accuracies that `rule` goes by for a target domain; none on the target but for `oracle`.

    The domain of a run is the one left out along with the target and scored on, or the target where there is none.
    """
    found: dict[str, dict[Run, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        model = score.model
        held_out = held_out_domains(model.target_domain)
        if rule == "leave_one_source_domain_out":
            if model.is_validation and target in held_out:
                (domain,) = set(held_out) - {target}
                found[model.recipe][domain, model.seed].append(score.per_domain[domain])
        elif model.target_domain == target:
            found[model.recipe][target, model.seed].append(score.ood if rule == "oracle" else score.out_accuracy)
    return {
        recipe: {run: fmean(values) for run, values in sorted(runs.items(), key=_in_order)}
        for recipe, runs in found.items()
    }


def domains_seen(score: Score, observed: Observed, rule: SelectionRule) -> tuple[str, ...]:
    """Return the domains on whose images `rule` compared the model of `score` with others, sorted."""
    if rule in ("leave_one_source_domain_out", "oracle"):
        return tuple(domains_of(observed))
    return tuple(sorted(score.per_domain.keys() - {score.model.target_domain}))


def domains_of(observed: Observed) -> list[str]:
    """Return the domains that any recipe was scored on, sorted."""
    return sorted({domain for runs in observed.values() for domain, _ in runs})


def complete_recipes(observed: Observed) -> list[str]:
    """Return the recipes that were scored on every domain on which any was."""
    domains = set(domains_of(observed))
    return [recipe for recipe, runs in observed.items() if {domain for domain, _ in runs} == domains]


def mean_over_domains(runs: Mapping[Run, float]) -> float:
    """Return the mean over domains of the mean over each domain's seeds: every domain counts the same."""
    by_domain: dict[str, list[float]] = defaultdict(list)
    for (domain, _), value in runs.items():
        by_domain[domain].append(value)
    return fmean(fmean(values) for values in by_domain.values())


def regret(scores: Sequence[Score], picked: Mapping[str, float]) -> dict[str, float]:
    """Return target domain -> how much less accuracy a pick has than the oracle's, 0..1, in order of `picked`.

    `picked`: the accuracy of each pick on its target domain. The oracle takes the best of all models of `scores`, by a
    look at the target; the more models there are, the more of its lead is chance.
    """
    found = {}
    for target, share in picked.items():
        own = {score.model: score.ood for score in scores if score.model.target_domain == target}
        found[target] = oracle(own)[0].seen - share
    return found


def targets_of(models: Iterable[Model]) -> list[str]:
    """Return the single domains that models were trained without, sorted; of pairs, none ships."""
    return sorted({model.target_domain for model in models if not model.is_validation})


def _in_order(run: tuple[Run, list[float]]) -> tuple[str, int]:
    (domain, seed), _ = run
    return domain, -1 if seed is None else seed
