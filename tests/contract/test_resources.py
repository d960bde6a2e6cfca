"""What the section `resources` becomes in a compiled pipeline: both documents of the file that a cluster gets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.compiler import Compiler
from kfp.dsl import PipelineTask
from kfp.dsl.graph_component import GraphComponent

from oodtune.config.resources import ResourcesConfig, TaskConfig, TaskKind
from pipelines.resources import pipeline_config, with_resources

PROFILES = ("cpu", "gpu", "gpu-multi")
KINDS = ("light", "network", "train")
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists"}
EVERYTHING: dict[str, Any] = {
    "gpu_node_selector": {"pool": "gpu"},
    "gpu_tolerations": [{"key": "spot", "value": "yes", "effect": "NoExecute"}],
    "tasks": {"light": {"node_selector": {"pool": "small"}}, "train": {"cpu_limit": "20", "memory_limit": "96Gi"}},
    "volume": {"claim": "oodtune-data", "mount_path": "/mnt/data", "sub_path": "team"},
    "s3_secret": "s3",
    "s3_secret_keys": {"id": "AWS_ACCESS_KEY_ID", "key": "AWS_SECRET_ACCESS_KEY"},
    "s3_endpoint_url": "http://seaweedfs:8333",
    "image_pull_secrets": ["registry", "mirror"],
    "image_pull_policy": "Always",
    "run_as_user": 10001,
    "run_as_group": 10002,
    "pod_labels": {"team": "vision"},
    "pod_annotations": {"sidecar.istio.io/inject": "false"},
    "retries": 3,
    "retry_wait_s": 30,
    "retry_wait_factor": 1.5,
    "retry_for_s": 900000,
    "run_deadline_s": 400000,
    "run_ttl_s": 86400,
}
MULTI: dict[str, Any] = {"profile": "gpu-multi", "volume": {"claim": "oodtune"}, "s3_secret": "credentials"}


@dsl.component(base_image="trainer:1", install_kfp_package=False)
def light() -> list[str]:
    return ["one", "two"]


@dsl.component(base_image="trainer:1", install_kfp_package=False)
def network() -> str:
    return "initial"


@dsl.component(base_image="trainer:1", install_kfp_package=False)
def train(item: str, initial: str) -> str:
    return item + initial


def build(resources: ResourcesConfig) -> GraphComponent:
    def place(task: PipelineTask, kind: TaskKind) -> PipelineTask:
        return with_resources(task, resources, kind)

    @dsl.pipeline(name="three-kinds", pipeline_config=pipeline_config(resources))
    def pipeline() -> None:
        items = place(light(), "light").output
        initial = place(network(), "network").output
        with dsl.ParallelFor(items) as item:
            place(train(item=item, initial=initial), "train")

    return pipeline


@dataclass(frozen=True)
class Compiled:
    text: str
    containers: dict[str, dict[str, Any]]
    pods: dict[str, dict[str, Any]]
    tasks: dict[str, dict[str, Any]]
    run: dict[str, Any]


def compile_to(path: Path, **settings: object) -> Compiled:
    Compiler().compile(build(ResourcesConfig.model_validate(settings)), str(path))
    text = path.read_text(encoding="utf-8")
    spec, platforms = yaml.safe_load_all(text)
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    executors = spec["deploymentSpec"]["executors"]
    kubernetes = platforms["platforms"]["kubernetes"]
    pods = kubernetes["deploymentSpec"]["executors"]
    assert len(executors) == len(pods) == len(KINDS)
    return Compiled(
        text=text,
        containers={name: executors[f"exec-{name}"]["container"] for name in KINDS},
        pods={name: pods[f"exec-{name}"] for name in KINDS},
        tasks={name: task for dag in dags for name, task in dag["tasks"].items()},
        run=kubernetes.get("pipelineConfig", {}),
    )


@pytest.fixture(scope="module", params=PROFILES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Compiled]:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    return request.param, compile_to(path, profile=request.param, **EVERYTHING)


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_to(tmp_path_factory.mktemp("default") / "pipeline.yaml")


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_to(tmp_path_factory.mktemp("multi") / "pipeline.yaml", **MULTI)


def test_each_kind_of_task_asks_for_the_gpus_of_the_profile_and_a_light_one_for_none(
    whole: tuple[str, Compiled],
) -> None:
    profile, compiled = whole
    found = {name: one["resources"].get("accelerator", {}) for name, one in compiled.containers.items()}
    counts = {"cpu": (), "gpu": ("1", "1"), "gpu-multi": ("1", "4")}[profile]
    assert {name: one["resourceCount"] for name, one in found.items() if one} == dict(
        zip(("network", "train"), counts, strict=bool(counts))
    )
    assert {one["resourceType"] for one in found.values() if one} <= {"nvidia.com/gpu"}


def test_cpu_and_memory_have_requests_and_limits(whole: tuple[str, Compiled]) -> None:
    profile, compiled = whole
    cpu, memory = ("16", "64Gi") if profile == "gpu-multi" else ("4", "16Gi")

    def asked(name: str) -> list[str]:
        keys = ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit")
        return [compiled.containers[name]["resources"][key] for key in keys]

    assert asked("light") == ["2", "2", "8Gi", "8Gi"]
    assert asked("network") == ["4", "4", "16Gi", "16Gi"]
    assert asked("train") == [cpu, "20", memory, "96Gi"]


def test_the_secret_of_s3_becomes_environment_variables_of_every_task(whole: tuple[str, Compiled]) -> None:
    for pod in whole[1].pods.values():
        (secret,) = pod["secretAsEnv"]
        assert secret["secretNameParameter"] == {"runtimeValue": {"constant": "s3"}}
        assert secret["keyToEnv"] == [
            {"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "id"},
            {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "key"},
        ]


def test_the_volume_is_mounted_by_every_task(whole: tuple[str, Compiled]) -> None:
    for pod in whole[1].pods.values():
        (mount,) = pod["pvcMount"]
        assert mount["pvcNameParameter"] == {"runtimeValue": {"constant": "oodtune-data"}}
        assert (mount["mountPath"], mount["subPath"]) == ("/mnt/data", "team")


def test_every_task_has_a_scratch_folder_that_holds_its_caches(whole: tuple[str, Compiled]) -> None:
    for name, pod in whole[1].pods.items():
        env = {one["name"]: one["value"] for one in whole[1].containers[name]["env"]}
        assert "/tmp" in {mount["mountPath"] for mount in pod["emptyDirMounts"] if "medium" not in mount}
        for variable in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
            assert Path(env[variable]).is_relative_to("/tmp")
        assert env["AWS_ENDPOINT_URL"] == "http://seaweedfs:8333"


def test_shared_memory_is_of_the_size_that_the_profile_says(whole: tuple[str, Compiled]) -> None:
    sizes = {
        name: mount["sizeLimit"]
        for name, pod in whole[1].pods.items()
        for mount in pod["emptyDirMounts"]
        if (mount["mountPath"], mount.get("medium")) == ("/dev/shm", "Memory")
    }
    expected = {"cpu": {}, "gpu": {"network": "1Gi", "train": "1Gi"}, "gpu-multi": {"network": "1Gi", "train": "8Gi"}}
    assert sizes == expected[whole[0]]


def test_only_tasks_with_a_gpu_go_to_nodes_with_gpus(whole: tuple[str, Compiled]) -> None:
    profile, compiled = whole
    spot = {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute"}
    assert compiled.pods["light"]["nodeSelector"] == {"labels": {"pool": "small"}}
    assert "tolerations" not in compiled.pods["light"]
    for name in ("network", "train"):
        if profile == "cpu":
            assert compiled.pods[name].keys().isdisjoint({"nodeSelector", "tolerations"})
        else:
            assert compiled.pods[name]["nodeSelector"] == {"labels": {"pool": "gpu"}}
            assert compiled.pods[name]["tolerations"] == [GPU_TAINT, spot]


def test_images_are_pulled_with_the_secrets_and_by_the_policy(whole: tuple[str, Compiled]) -> None:
    for pod in whole[1].pods.values():
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry", "mirror"]
        assert pod["imagePullPolicy"] == "Always"


def test_every_pod_has_the_user_labels_and_annotations(whole: tuple[str, Compiled]) -> None:
    for pod in whole[1].pods.values():
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10002", "runAsNonRoot": True}
        assert pod["podMetadata"]["labels"] == {"team": "vision"}
        assert pod["podMetadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


def test_every_attempt_ends_in_time_and_failed_ones_are_repeated(whole: tuple[str, Compiled]) -> None:
    profile, compiled = whole
    hours = {"cpu": (4, 24, 72), "gpu": (4, 8, 24), "gpu-multi": (4, 8, 24)}[profile]
    assert tuple(int(compiled.pods[name]["activeDeadlineSeconds"]) for name in KINDS) == tuple(3600 * h for h in hours)
    for name in KINDS:
        assert compiled.tasks[name]["retryPolicy"] == {
            "maxRetryCount": 3,
            "backoffDuration": "30s",
            "backoffFactor": 1.5,
            "backoffMaxDuration": "900000s",
        }


def test_a_run_has_its_deadline_and_is_cleared_away(whole: tuple[str, Compiled]) -> None:
    assert whole[1].run == {"activeDeadlineSeconds": 400000, "resourceTtlOnCompletion": 86400}


def test_by_default_there_is_no_volume_secret_or_deadline_and_no_root(default: Compiled) -> None:
    assert default.run == {}
    for pod in default.pods.values():
        assert pod.keys().isdisjoint({"pvcMount", "secretAsEnv", "imagePullSecret", "nodeSelector", "podMetadata"})
        assert pod["securityContext"] == {"runAsNonRoot": True}
        assert pod["imagePullPolicy"] == "IfNotPresent"
    assert "AWS_" not in default.text


def test_without_names_the_keys_of_the_secret_are_those_of_aws(tmp_path: Path) -> None:
    compiled = compile_to(tmp_path / "pipeline.yaml", s3_secret="s3")
    for pod in compiled.pods.values():
        pairs = [(pair["secretKey"], pair["envVar"]) for pair in pod["secretAsEnv"][0]["keyToEnv"]]
        assert pairs == [(name, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]


def test_a_trial_on_several_nodes_waits_in_a_light_pod_for_as_long_as_it_trains(tmp_path: Path) -> None:
    settings = {"profile": "gpu-multi", "nodes": 2, "volume": {"claim": "oodtune-data"}}
    compiled = compile_to(tmp_path / "pipeline.yaml", **settings)
    assert compiled.containers["train"]["resources"] == compiled.containers["light"]["resources"]
    assert compiled.pods["train"]["activeDeadlineSeconds"] == "86400"
    assert "accelerator" in compiled.containers["network"]["resources"]


def test_equal_settings_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    labels = {"a": "1", "b": "2", "c": "3"}
    one, other = ({"pod_labels": one, "gpu_node_selector": one} for one in (labels, dict(reversed(labels.items()))))
    assert compile_to(tmp_path / "one.yaml", **one).text == compile_to(tmp_path / "two.yaml", **other).text


OF_THE_RUN = {"service_account"}  # given when the run is submitted
OF_THE_SWEEP = {"parallelism"}  # given to the ParallelFor
CHANGES: dict[str, Any] = EVERYTHING | {
    "profile": "cpu",
    "gpus": 3,
    "gpu_type": "amd.com/gpu",
    "nodes": 2,
    "run_as_non_root": False,
}


@pytest.mark.parametrize("name", sorted(ResourcesConfig.model_fields.keys() - OF_THE_RUN - OF_THE_SWEEP))
def test_every_setting_changes_the_compiled_pipeline(name: str, multi: Compiled, tmp_path: Path) -> None:
    assert compile_to(tmp_path / "pipeline.yaml", **MULTI | {name: CHANGES[name]}).text != multi.text


TASK_CHANGES: dict[str, Any] = {
    "cpu": 3,
    "cpu_limit": "40",
    "memory": "17Gi",
    "memory_limit": "99Gi",
    "shm_size": "2Gi",
    "timeout_s": 60,
    "node_selector": {"pool": "a"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(TaskConfig.model_fields))
def test_every_setting_of_a_kind_of_task_changes_tasks_of_that_kind_alone(
    kind: str, name: str, default: Compiled, tmp_path: Path
) -> None:
    changed = compile_to(tmp_path / "pipeline.yaml", tasks={kind: {name: TASK_CHANGES[name]}})
    for other in KINDS:
        same = default.containers[other] == changed.containers[other] and default.pods[other] == changed.pods[other]
        assert same == (other != kind)
