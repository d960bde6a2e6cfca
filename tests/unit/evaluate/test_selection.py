import inspect

from oodtune.evaluate.predictions import Model
from oodtune.evaluate.selection import RULES, source_out_split


def model(name: str, kind: str = "trial") -> Model:
    return Model.model_validate({"target_domain": "line", "name": name, "kind": kind, "row": name})


def test_the_highest_out_accuracy_wins() -> None:
    assert source_out_split({model("a"): 0.7, model("b"): 0.8, model("c"): 0.75}).name == "b"


def test_a_tie_goes_to_the_cheaper_model_and_then_to_the_first_name() -> None:
    tied = {model("e", "ensemble"): 0.8, model("s", "soup"): 0.8, model("u"): 0.8, model("t"): 0.8}
    assert source_out_split(tied).name == "t"


def test_no_rule_is_given_anything_but_iid_accuracies() -> None:
    for rule in RULES.values():
        assert list(inspect.signature(rule).parameters) == ["out_accuracy"]
