"""A choice in sentences, and as a page of Markdown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from oodtune.evaluate.choice import Candidate, Choice

_DECIMALS = ".2%"


def explain(choice: Choice, num_models: int, no_pick: Mapping[str, str]) -> tuple[str, ...]:
    """Return why the winner was chosen, in sentences, from all but the reasons of `choice`.

    `num_models`: those of its target domain, ranked or not; `no_pick`: why other target domains have none.
    """
    return (
        *([f"Refused, not to ship: {choice.refused}."] if choice.refused else []),
        _why(choice),
        _what_was_seen(choice),
        *_runner_up(choice),
        *_kept_out(choice),
        *_left_out(choice, num_models),
        *_margin(choice),
        *_other_targets(choice, no_pick),
    )


def write_out(choice: Choice) -> str:
    """Return the decision, its reasons and the whole ranking as Markdown."""
    lines = [f"# Chosen without {choice.target_domain}: `{choice.winner.name}`", ""]
    if choice.is_ceiling:
        lines[0] = f"# Ceiling for {choice.target_domain}: `{choice.winner.name}`"
        lines += ["**A ceiling, not a choice to ship: it was picked by its accuracy on the target domain.**", ""]
    if choice.refused:
        lines[0] = f"# Refused: `{choice.winner.name}`, the best without {choice.target_domain}"
    lines += [
        f"Recipe `{choice.recipe}`, {choice.winner.kind}; rule `{choice.rule}`: {choice.rule_in_words}.",
        f"Accuracy: iid {choice.iid:{_DECIMALS}}, ood {choice.ood:{_DECIMALS}}.",
        "",
        *(f"- {reason}" for reason in choice.reasons),
        "",
        "Constraints: " + "; ".join(f"{key} {_shown(value)}" for key, value in choice.constraints.items()) + ".",
        "",
        "| | model | recipe | kind | seen by the rule | source out-splits | networks | MB | kept out by |",
        "|---:|---|---|---|---:|---:|---:|---:|---|",
        *(_row(place, candidate) for place, candidate in enumerate(choice.candidates, 1)),
    ]
    return "\n".join(lines) + "\n"


def _why(choice: Choice) -> str:
    name, target = choice.winner.name, choice.target_domain
    allowed = [one for one in choice.candidates if one.kept_out_by is None]
    winner = allowed[0]
    limits = " that meet the constraints" if len(allowed) < len(choice.candidates) else ""
    models = f"{_count(len(allowed), 'model')} trained without {target}{limits} (rule {choice.rule})"
    if choice.rule == "oracle":
        return (
            f"This is a ceiling, not a choice to ship: {name} has the highest accuracy on {target} itself, "
            f"{winner.seen:{_DECIMALS}}, of {models}."
        )
    if choice.rule == "leave_one_source_domain_out":
        recipes = {one.recipe for one in allowed}
        own = [one for one in allowed if one.recipe == choice.recipe]
        return (
            f"{choice.recipe} has the highest mean accuracy, {winner.seen:{_DECIMALS}}, on {_and(choice.scored_on)}, "
            f"each held out along with {target}, of {_count(len(recipes), 'recipe')}{limits} (rule {choice.rule}); of "
            f"its {_count(len(own), 'model')} trained without {target} alone, {name} has the highest mean accuracy on "
            f"the source out-splits, {winner.out_accuracy:{_DECIMALS}}."
        )
    named = f"Row {choice.winner.row} was named beforehand; " if choice.rule == "fixed" else ""
    within = "of its " if choice.rule == "fixed" else "of "
    return (
        f"{named}{name} has the highest mean accuracy on the source out-splits, {winner.seen:{_DECIMALS}}, "
        f"{within}{models}."
    )


def _what_was_seen(choice: Choice) -> str:
    target = choice.target_domain
    if choice.is_ceiling:
        return (
            f"The accuracy on {target}, {choice.ood:{_DECIMALS}}, picked the model: no rule can exceed it, and new "
            "images cannot be expected to reach it."
        )
    return f"The rule saw no image of {target}; the accuracy there, {choice.ood:{_DECIMALS}}, was measured afterwards."


def _runner_up(choice: Choice) -> Iterator[str]:
    first, *others = [one for one in choice.candidates if one.kept_out_by is None]
    by_recipe = choice.rule == "leave_one_source_domain_out"
    others = [one for one in others if not by_recipe or one.recipe != first.recipe]
    if others:
        second = others[0]
        name = second.recipe if by_recipe else second.name
        behind = 100.0 * (first.seen - second.seen)
        yield f"The runner-up is {name} with {second.seen:{_DECIMALS}}, {behind:.2f} points behind."


def _kept_out(choice: Choice) -> Iterator[str]:
    counts = Counter(one.kept_out_by for one in choice.candidates if one.kept_out_by is not None)
    if counts:
        parts = [
            f"{_count(count, 'model')} by {key} ({_shown(choice.constraints[key])})" for key, count in counts.items()
        ]
        yield f"Kept out: {_and(parts)}."
    if choice.candidates[0].kept_out_by is not None:
        first = choice.candidates[0]
        yield f"Without constraints it would be {first.name}, with {first.seen:{_DECIMALS}}."


def _left_out(choice: Choice, num_models: int) -> Iterator[str]:
    if choice.rule != "leave_one_source_domain_out":
        return
    untried = sorted(choice.per_domain.keys() - {choice.target_domain, *choice.scored_on})
    if untried:
        yield f"Not tried: {_and(untried)} was not held out along with {choice.target_domain}."
    unranked = num_models - len(choice.candidates)
    if unranked:
        yield (
            f"{_count(unranked, 'model')} of {num_models} could not be ranked: their recipes were not scored on each "
            f"of {_and(choice.scored_on)}."
        )


def _margin(choice: Choice) -> Iterator[str]:
    if choice.margin is None:
        yield f"There is no {choice.constraints['baseline']} measured on the same domains and seeds to compare with."
        return
    if choice.margin.recipe == choice.margin.baseline:
        yield f"It is the baseline, {choice.margin.baseline}, itself."
        return
    gain, wanted = choice.margin.difference, choice.constraints.get("min_margin")
    interval = gain.interval
    spread = f", {interval.level:.0%} interval {interval.low:+.2f} to {interval.high:+.2f}" if interval else ""
    yield (
        f"By the accuracies that the rule goes by, {choice.margin.recipe} gains {gain.mean:+.2f} points over "
        f"{choice.margin.baseline} (n = {gain.n}{spread})."
    )
    if (tried := len({one.recipe for one in choice.candidates if one.kept_out_by is None})) > 1:
        yield f"By the same accuracies it was found among {tried} recipes, so that gain looks larger than it is."
    if wanted is not None:
        where = "the lower end of the interval" if "margin_level" in choice.constraints else "the mean"
        yield f"The gain asked for was {wanted:+.2f} points at least, by {where}."


def _other_targets(choice: Choice, no_pick: Mapping[str, str]) -> Iterator[str]:
    for target, pick in choice.picks.items():
        if len(pick.scored_on) < len(choice.scored_on):
            yield f"The pick for {target} had only {_and(pick.scored_on)} to go by."
    for target, reason in no_pick.items():
        yield f"No pick for {target}: {reason}."


def _row(place: int, one: Candidate) -> str:
    size = f"{one.num_bytes / 1e6:.2f}" if one.num_bytes else ""
    return (
        f"| {place} | `{one.name}` | `{one.recipe}` | {one.kind} | {one.seen:{_DECIMALS}} | "
        f"{one.out_accuracy:{_DECIMALS}} | {one.num_networks} | {size} | {one.kept_out_by or ''} |"
    )


def _shown(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, (list, tuple)) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _and(parts: Sequence[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
