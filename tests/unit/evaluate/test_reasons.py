from oodtune.evaluate.choice import RULES_IN_WORDS, Candidate, Choice, Margin, Pick
from oodtune.evaluate.reasons import explain, write_out
from oodtune.evaluate.uncertainty import PairedDifference
from tests.fixtures.choosing import TARGET, make_model


def candidate(row: str, seen: float, kept_out_by: str | None = None) -> Candidate:
    model = make_model(row)
    return Candidate(
        name=model.name,
        row=row,
        recipe=model.recipe,
        kind="trial",
        seen=seen,
        out_accuracy=seen,
        num_networks=1,
        num_bytes=4_000_000,
        kept_out_by=kept_out_by,
    )


def make_choice(rule: str = "source_out_split", **more: object) -> Choice:
    winner = make_model("large")
    fields = {
        "target_domain": TARGET,
        "rule": rule,
        "winner": winner,
        "recipe": winner.recipe,
        "temperature": 1.0,
        "iid": 0.8,
        "ood": 0.625,
        "picks": {TARGET: Pick(name=winner.name, row="large", kind="trial", iid=0.8, ood=0.625, scored_on=("ink",))},
        "per_domain": {"ink": 0.8, "oil": 0.8, TARGET: 0.625},
        "candidates": (candidate("large", 0.8), candidate("plain", 0.75)),
        "constraints": {"kinds": ["trial"], "baseline": "plain"},
        "scored_on": ("ink",),
        "reasons": (),
    }
    return Choice.model_validate({**fields, **more})


def text_of(choice: Choice, num_models: int = 2, **no_pick: str) -> str:
    return " ".join(explain(choice, num_models, no_pick))


def test_the_reasons_say_that_the_target_was_not_looked_at_unless_it_was() -> None:
    for rule in RULES_IN_WORDS:
        text = text_of(make_choice(rule))
        assert ("saw no image of wax" in text) == (rule != "oracle")
        assert ("ceiling" in text) == (rule == "oracle")


def test_a_ceiling_is_called_one_in_the_heading_and_in_the_words_of_the_rule() -> None:
    choice = make_choice("oracle")
    written = write_out(choice.model_copy(update={"reasons": explain(choice, 2, {})}))
    assert written.startswith("# Ceiling for wax")
    assert "not a choice to ship" in written
    assert "a ceiling for every rule" in choice.rule_in_words
    assert "Ceiling" not in write_out(make_choice())


def test_what_constraints_changed_is_said() -> None:
    candidates = (candidate("huge", 0.9, "max_megabytes"), candidate("large", 0.8))
    text = text_of(make_choice(candidates=candidates, constraints={"max_megabytes": 5.0, "baseline": "plain"}))
    assert "of 1 model trained without wax that meet the constraints" in text
    assert "Kept out: 1 model by max_megabytes (5.0)." in text
    assert "Without constraints it would be wax-huge-seed0, with 90.00%." in text


def test_the_gain_comes_with_its_n_and_interval() -> None:
    difference = PairedDifference.model_validate(
        {"mean": 1.5, "n": 3, "num_domains": 1, "interval": {"low": 0.5, "high": 2.5, "level": 0.9}}
    )
    margin = Margin(recipe="large", baseline="plain", difference=difference)
    text = text_of(make_choice(margin=margin))
    assert "gains +1.50 points over plain (n = 3, 90% interval +0.50 to +2.50)" in text
    assert "found among 2 recipes, so that gain looks larger than it is" in text
    assert "to compare with" in text_of(make_choice())


def test_what_leaving_out_domains_did_not_cover_is_said() -> None:
    text = text_of(make_choice("leave_one_source_domain_out"), num_models=5)
    assert "oil was not held out along with wax" in text
    assert "3 models of 5 could not be ranked" in text


def test_a_target_without_a_pick_is_named_with_the_reason() -> None:
    assert "No pick for ink: nothing fits." in text_of(make_choice(), ink="nothing fits")


def test_the_text_holds_every_reason_and_every_candidate() -> None:
    choice = make_choice(reasons=("Because.", "And so."))
    written = write_out(choice)
    assert all(f"- {reason}\n" in written for reason in choice.reasons)
    assert all(f"`{one.name}`" in written for one in choice.candidates)
