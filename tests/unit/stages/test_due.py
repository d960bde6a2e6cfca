"""Whether there is anything to train, by what the bundle in production says it was trained on."""

from pathlib import Path

import pytest

from oodtune.artifact import create_artifact, write_json
from oodtune.config import PublishConfig
from oodtune.errors import ConfigError, UserError
from oodtune.stages import due, publish

pytestmark = pytest.mark.xdist_group("s3")

OLD, NEW = "0" * 40, "1" * 40


def put(registry: PublishConfig, directory: Path, *revisions: str, promote: bool = True) -> None:
    """Publish a bundle that was trained on domains of these revisions."""
    origins = [{"domain": str(number), "version": version} for number, version in enumerate(revisions)]
    with create_artifact(directory / "bundle", "bundle") as writer:
        write_json(writer.path / "lineage.json", {"dataset": {"origins": origins}})
    publish.run(directory / "bundle", publish.Params(publish=registry), promote)


def is_due(registry: PublishConfig, data_rev: str) -> bool:
    return due.run(due.Params(publish=registry), data_rev)


def test_with_nothing_in_production_there_is_something_to_train(registry: PublishConfig, tmp_path: Path) -> None:
    assert is_due(registry, NEW)
    put(registry, tmp_path, NEW, promote=False)  # published, not promoted
    assert is_due(registry, NEW)


def test_data_that_production_was_trained_on_is_not_due_and_other_data_is(
    registry: PublishConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(registry, tmp_path, OLD, OLD)
    assert not is_due(registry, OLD)
    assert is_due(registry, NEW)
    assert f"due: True; production was trained on {OLD}; now it is {NEW}" in capsys.readouterr().out
    put(registry, tmp_path, NEW, NEW)
    assert not is_due(registry, NEW)
    assert is_due(registry, OLD)  # it went back


@pytest.mark.parametrize("revisions", [(OLD, NEW), (), ("",)])
def test_data_of_several_or_no_revisions_is_always_due(
    revisions: tuple[str, ...], registry: PublishConfig, tmp_path: Path
) -> None:
    put(registry, tmp_path, *revisions)
    assert [is_due(registry, rev) for rev in (OLD, NEW, "")] == [True] * 3


def test_without_a_registry_it_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"publish\.url: .* found null; set it"):
        is_due(PublishConfig(), NEW)


def test_a_registry_that_does_not_answer_is_an_error_and_no_reason_to_train(registry: PublishConfig) -> None:
    with pytest.raises(UserError) as caught:
        is_due(registry.model_copy(update={"url": "s3://no-such-bucket/models"}), NEW)
    assert "\n" not in str(caught.value)
