from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oodtune.config import Config, PublishConfig
from oodtune.trial import plan_trials
from tests.fixtures.s3 import BUCKET, S3, serve_s3
from tests.fixtures.tiny_sweep import tiny_config


@dataclass(frozen=True)
class Road:
    """Every artifact of a tiny sweep, up to the selection."""

    directory: Path
    config: Config

    def __getattr__(self, name: str) -> Path:
        return self.directory / name

    @property
    def trials(self) -> list[Path]:
        return [self.directory / "trials" / trial.name for trial in plan_trials(self.config.sweep)]


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Run the stages once, in this process."""
    from oodtune.stages import cache, combine, evaluate, init, prepare, select, train

    directory = tmp_path_factory.mktemp("road")
    config = tiny_config(directory)
    made = Road(directory, config)
    prepare.run(made.dataset, prepare.Params.from_config(config), directory / "downloads")
    cache.run(made.dataset, made.cache, cache.Params.from_config(config))
    init.run(made.cache, made.init, init.Params.from_config(config))
    for trial in plan_trials(config.sweep):
        params = train.Params.for_trial(config, trial)
        train.run(made.cache, made.init, directory / "trials" / trial.name, params, trial)
    combine.run(made.cache, made.init, made.trials, made.soups, combine.Params.from_config(config))
    evaluate.run(made.cache, made.trials, made.soups, made.predictions, evaluate.Params.from_config(config))
    select.run(made.predictions, made.selection, select.Params.from_config(config))
    return made


@pytest.fixture(scope="session")
def registry_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("registry")) as s3:
        yield s3


@pytest.fixture
def registry(registry_service: S3, request: pytest.FixtureRequest) -> Iterator[PublishConfig]:
    """Settings of a registry that is empty: every test has a model of its own in it."""
    with registry_service.use_here():
        yield PublishConfig(
            url=f"s3://{BUCKET}/stages", endpoint_url=registry_service.endpoint_url, name=request.node.originalname
        )
