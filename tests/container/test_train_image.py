"""The train image with a small lock in the place of its own, which is 6 GB: a component runs as Kubeflow runs it."""

import json
import re
import shutil
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from components import IMAGE
from oodtune import __version__
from oodtune.config import load_config
from oodtune.stages import plan
from pipelines.compile import compile_pipeline
from tests.container.building import PROJECT_DIR, Builder, CommandError, run

SMALL = "requirements/small.txt"


def pins(lock: str) -> dict[str, str]:
    """Return package -> its lines in a lock; some have a version for each Python."""
    found: dict[str, str] = {}
    for name, text in re.findall(r"^([a-z0-9][a-z0-9._-]*)(==(?:.*\\\n)+.*\n?)", lock, flags=re.MULTILINE):
        found[name] = found.get(name, "") + name + text
    return found


def needed(package: str) -> set[str]:
    """Return what `package` needs without extras, and what these need."""
    named = [Requirement(text) for text in requires(package) or []]
    direct = {
        one.name.lower().replace("_", "-") for one in named if one.marker is None or one.marker.evaluate({"extra": ""})
    }
    return direct.union(*map(needed, direct))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this checkout, with a lock of the core's dependencies beside the others."""
    target = tmp_path_factory.mktemp("checkout") / "oodtune"
    run("git", "clone", "--quiet", "--no-hardlinks", str(PROJECT_DIR), str(target))
    for name in run("git", "ls-files", cwd=PROJECT_DIR).splitlines():  # what is not committed yet is tested, too
        if (PROJECT_DIR / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_DIR / name, target / name)
    available = pins((PROJECT_DIR / "requirements/train.txt").read_text(encoding="utf-8"))
    chosen = sorted(needed("oodtune") & set(available))
    assert {"numpy", "pydantic"} <= set(chosen)
    (target / SMALL).write_text("".join(available[name] for name in chosen), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def image(builder: Builder, checkout: Path) -> str:
    return builder.build("train", checkout, f"--build-arg=REQUIREMENTS={SMALL}")


@pytest.fixture(scope="module")
def container(builder: Builder, image: str) -> str:
    return builder.container(image)


def test_a_component_runs_as_kubeflow_runs_it(builder: Builder, container: str) -> None:
    config = load_config(PROJECT_DIR / "params.yaml")
    document = next(yaml.safe_load_all(compile_pipeline("sweep", config).text))
    executor = document["deploymentSpec"]["executors"]["exec-plan"]["container"]
    assert executor["image"] == IMAGE
    params = plan.Params.from_config(config)
    asked = {
        "inputs": {"parameterValues": {"params": params.to_json()}},
        "outputs": {
            "parameters": {"Output": {"outputFile": "/tmp/out/Output"}},
            "outputFile": "/tmp/out/executor_output.json",
        },
    }
    arguments = [one.replace("{{$}}", json.dumps(asked)) for one in executor["args"]]
    builder.run(container, *executor["command"], *arguments)
    answer = json.loads((builder.root_dir(container) / "tmp/out/executor_output.json").read_text(encoding="utf-8"))
    trials = answer["parameterValues"]["Output"]
    assert trials == plan.run(params)


def test_it_is_tagged_as_pipelines_expect_it(builder: Builder, image: str) -> None:
    assert builder.config(IMAGE)["Labels"]["org.opencontainers.image.version"] == __version__
    assert image.startswith(f"{IMAGE}-")


def test_an_init_reaps_what_the_processes_of_a_task_leave_behind(builder: Builder, container: str, image: str) -> None:
    entrypoint = builder.config(image)["Entrypoint"]
    assert builder.run(container, *entrypoint, "oodtune", "--version").strip().endswith(__version__)
    assert "tini" in entrypoint[0]


def test_kfp_brought_nothing_along(builder: Builder, container: str) -> None:
    packages = {path.name for path in (builder.root_dir(container) / "opt/venv/lib/python3.11/site-packages").iterdir()}
    assert "kfp" in packages
    assert packages.isdisjoint({"kubernetes", "google", "requests", "torch"})
    with pytest.raises(CommandError):
        builder.run(container, "python", "-c", "import kfp.compiler")
