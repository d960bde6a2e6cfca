from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from oodtune.config import (
    Config,
    DataConfig,
    ServeConfig,
    StageParams,
    SweepConfig,
    TrainConfig,
    describe_validation_error,
    load_config,
    parse_config,
)
from oodtune.errors import ConfigError

PROJECT_DIR = Path(__file__).parents[2]
TEXT = (PROJECT_DIR / "params.yaml").read_text(encoding="utf-8")


def change(path: str, value: object) -> str:
    settings = yaml.safe_load(TEXT)
    *parents, key = path.split(".")
    section = settings
    for parent in parents:
        section = section[parent]
    section[key] = value
    return yaml.safe_dump(settings)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("train.stesp", 5, "unknown key 'train.stesp'"),
        ("train.steps", 0, "train.steps: input should be greater than or equal to 1, found 0"),
        (
            "methods.large_dropout.dropout",
            1.0,
            "methods.large_dropout.dropout: input should be less than 1, found 1.0",
        ),
        ("data.out_fraction", "much", "data.out_fraction"),
        ("sweep.methods", ["plain", "huge"], "sweep.methods names 'huge'"),
        ("sweep.seeds", [1, 1], "sweep.seeds names a value twice"),
        ("select.target_domain", "oil", "select.target_domain is 'oil'"),
        ("data.source", "folder", "data.root is the folder of `source: folder`"),
        ("data.exclude", "list.txt", "data.exclude leaves out images of `source: folder`"),
        ("train.steps", float("nan"), "train.steps"),
        ("train.milestones", [0.75, 0.5], "train.milestones: expected shares that rise, found [0.75, 0.5]"),
        ("augment.jitter", 0.6, "augment.jitter also shifts the hue, in turns: expected at most 0.5"),
        ("combine.shares", [0.5, 0.5], "combine.shares names a value twice: [0.5, 0.5]"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(path: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(change(path, value))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_wrong_key_is_named_at_once() -> None:
    text = change("train.steps", 0).replace("jitter", "jiter")
    with pytest.raises(ConfigError, match=r"augment\.jiter.*train\.steps"):
        parse_config(text)


def test_text_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("data: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected YAML") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*--params"):
        load_config(tmp_path / "params.yaml")


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    config = parse_config(TEXT)
    with pytest.raises(ValueError, match="frozen"):
        config.train.steps = 3  # type: ignore[misc]


def test_stage_params_hold_only_their_own_sections_and_survive_json() -> None:
    class Params(StageParams):
        serve: ServeConfig

    config: Config = parse_config(TEXT)
    params = Params.from_config(config)
    assert params.model_dump() == {"serve": config.serve.model_dump()}
    assert Params.from_json(params.to_json()) == params


def dvc_settings(**changes: object) -> str:
    settings = yaml.safe_load(TEXT)
    settings["data"] |= {"source": "dvc", "dvc": {"url": "git@host:images.git", "rev": "v1", "path": "data", **changes}}
    return yaml.safe_dump(settings)


def test_a_dvc_repository_can_be_named() -> None:
    dvc = parse_config(dvc_settings()).data.dvc
    assert dvc is not None
    assert dvc.rev == "v1"


def test_the_dvc_source_and_its_settings_belong_together() -> None:
    for text in (change("data.source", "dvc"), change("data.dvc", {"url": "x", "rev": "v1"})):
        with pytest.raises(ConfigError, match="set both or neither"):
            parse_config(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "https://me:token@host/images.git"}, "data.dvc.url holds credentials"),
        ({"url": "https://token@host/images.git"}, "data.dvc.url holds credentials"),
        ({"endpoint_url": "http://key:secret@host:9000"}, "data.dvc.endpoint_url holds credentials"),
        ({"endpoint_url": "host:9000"}, "endpoint_url"),
        ({"path": "data/../.."}, "must stay inside the repository"),
        ({"path": "/data"}, "data.dvc.path"),
        ({"secret_access_key": "x"}, "unknown key 'data.dvc.secret_access_key'"),
    ],
)
def test_dvc_settings_that_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(dvc_settings(**changes))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "csv"}, "data.table is the file of `source: csv`"),
        ({"source": "folder", "root": "x", "table": {"file": "a.csv"}}, "data.table is the file of `source: csv`"),
        ({"source": "synthetic", "root": "x"}, "data.root belongs to the sources folder, csv and parquet"),
        ({"source": "csv", "table": {"file": "a.csv", "group": "p"}, "group_pattern": "x"}, "both name groups"),
        ({"source": "synthetic", "group_pattern": "("}, "expected a regular expression"),
        ({"source": "synthetic", "out_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"source": "synthetic", "checks": {"unreadable": "keep"}}, "checks.unreadable"),
    ],
)
def test_settings_of_images_that_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate(settings)
    assert said in describe_validation_error(caught.value)


def test_a_table_needs_no_root() -> None:
    assert DataConfig.model_validate({"source": "csv", "table": {"file": "a.csv"}}).root is None


def test_a_warm_up_that_never_ends_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected fewer than the 10 steps of training, found 10"):
        TrainConfig(steps=10, warmup_steps=10)


def test_recorded_settings_of_images_name_no_folders() -> None:
    settings = {
        "source": "csv",
        "root": "/home/anna/images",
        "table": {"file": "/home/anna/labels.csv", "group": "patient"},
    }
    recorded = DataConfig.model_validate(settings).without_places()
    assert "anna" not in recorded.model_dump_json()
    assert recorded.table is not None
    assert (recorded.table.file, recorded.table.group) == (Path("labels.csv"), "patient")
    repository = {"source": "dvc", "dvc": {"url": "file:///home/anna/images.git", "rev": "v1"}}
    named = DataConfig.model_validate(repository).without_places().dvc
    assert named is not None
    assert named.url == "images.git"
    plain = DataConfig(source="synthetic")
    assert plain.without_places() == plain


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["ink", "ink"], "names a value twice"),
        (["ink+oil", "oil+ink"], "names a value twice"),
        (["ink+ink"], "expected two domains in 'ink+ink', found one twice"),
        (["ink+oil+wax"], "target_domains"),
        (["ink-oil"], "target_domains"),
    ],
)
def test_domains_to_hold_out_that_are_refused(targets: list[str], said: str) -> None:
    lists = {"methods": ["plain"], "learning_rates": [0.1], "weight_decays": [0.0], "seeds": [0]}
    with pytest.raises(ValidationError) as caught:
        SweepConfig.model_validate({"target_domains": targets, **lists})
    assert said in describe_validation_error(caught.value)


def test_the_rule_that_leaves_source_domains_out_needs_pairs() -> None:
    settings = load_config(PROJECT_DIR / "params.yaml").model_dump(mode="json")
    settings["select"] |= {"rule": "leave_one_source_domain_out"}
    with pytest.raises(ValidationError, match=r"expects pairs with 'line' in sweep.target_domains, found none"):
        Config.model_validate(settings)
    settings["sweep"] |= {"target_domains": ["line", "noto+line"]}
    assert Config.model_validate(settings).select.rule == "leave_one_source_domain_out"
