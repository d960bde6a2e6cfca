import pytest
from pydantic import ValidationError

from oodtune.config import describe_validation_error
from oodtune.config.resources import PROFILES, TASK_KINDS, ResourcesConfig, TaskKind, Toleration
from oodtune.config.section import Section


class Settings(Section):
    """The section where it stands in a settings file."""

    resources: ResourcesConfig


def parse(**settings: object) -> ResourcesConfig:
    return Settings.model_validate({"resources": settings}).resources


VOLUME = {"claim": "oodtune"}

REFUSALS = [
    ({"profle": "gpu"}, "unknown key 'resources.profle'"),
    ({"profile": "tpu"}, "resources.profile: input should be 'cpu', 'gpu' or 'gpu-multi', found 'tpu'"),
    ({"profile": "gpu-multi", "gpus": 1}, "resources.gpus: expected 2 or more with the profile gpu-multi, found 1"),
    ({"profile": "gpu", "gpus": 2}, "resources.gpus belongs to the profile gpu-multi, found profile gpu"),
    ({"gpu_type": "a100"}, "resources.gpu_type: expected a resource such as nvidia.com/gpu, found 'a100'"),
    ({"tasks": {"trian": {}}}, "resources.tasks.trian"),
    ({"tasks": {"train": {"memroy": "1Gi"}}}, "unknown key 'resources.tasks.train.memroy'"),
    (
        {"tasks": {"train": {"memory": "64"}}},
        "resources.tasks.train.memory: expected an amount of memory with its unit",
    ),
    ({"tasks": {"train": {"memory": "64K"}}}, "found '64K'"),
    ({"tasks": {"train": {"memory": "64GB"}}}, "found '64GB'"),
    ({"tasks": {"train": {"memory": 64}}}, "found 64"),
    ({"tasks": {"train": {"cpu": "four"}}}, "resources.tasks.train.cpu: expected a number of CPUs"),
    ({"tasks": {"train": {"cpu": 0}}}, "found 0"),
    ({"tasks": {"train": {"cpu": "٤"}}}, "expected a number of CPUs"),
    ({"tasks": {"light": {"cpu_limit": "500m"}}}, "light.cpu_limit: expected at least the 2 requested, found 500m"),
    ({"tasks": {"train": {"memory_limit": "15G"}}}, "train.memory_limit: expected at least the 16Gi requested"),
    ({"tasks": {"train": {"shm_size": "17Gi"}}}, "train.shm_size: it counts as memory, expected at most the limit"),
    ({"tasks": {"train": {"timeout_s": 0}}}, "resources.tasks.train.timeout_s"),
    ({"gpu_node_selector": {"a pool": "x"}}, "expected the key of a label"),
    ({"gpu_node_selector": {"pool": True}}, "resources.gpu_node_selector.pool: input should be a valid string"),
    ({"gpu_tolerations": [{"key": "gpu"}]}, "a toleration that is Equal needs a key and a value"),
    ({"gpu_tolerations": [{"operator": "Exists", "value": "x"}]}, "a toleration that Exists has no value"),
    ({"gpu_tolerations": [{"key": "gpu", "operator": "Exists", "effect": "Never"}]}, "effect"),
    ({"volume": {"claim": "My Claim"}}, "resources.volume.claim: expected the name of a claim"),
    ({"volume": {"claim": "data.v1"}}, "resources.volume.claim: expected the name of a claim"),
    ({"volume": VOLUME | {"mount_path": "mnt"}}, "resources.volume.mount_path: expected an absolute path"),
    ({"volume": VOLUME | {"mount_path": "/"}}, "resources.volume.mount_path: expected an absolute path"),
    ({"volume": VOLUME | {"mount_path": "/mnt/../tmp"}}, "resources.volume.mount_path: expected an absolute path"),
    ({"volume": VOLUME | {"mount_path": "/tmp/data"}}, "resources.volume.mount_path: /tmp is taken by"),
    ({"volume": VOLUME | {"sub_path": "../other"}}, "resources.volume.sub_path: expected a path inside the volume"),
    ({"volume": VOLUME | {"sub_path": "/team"}}, "resources.volume.sub_path: expected a path inside the volume"),
    ({"s3_secret": "S3"}, "resources.s3_secret: expected the name of a Kubernetes object"),
    ({"s3_secret_keys": {"id": "AWS-KEY"}}, "expected the name of an environment variable, found 'AWS-KEY'"),
    ({"s3_secret_keys": {"id": "AWS_ACCESS_KEY_ID"}}, "resources.s3_secret_keys are keys of resources.s3_secret"),
    ({"s3_secret_keys": {}}, "resources.s3_secret_keys"),
    ({"s3_endpoint_url": "minio:9000"}, "resources.s3_endpoint_url"),
    ({"s3_endpoint_url": "http://me:secret@minio"}, "resources.s3_endpoint_url holds credentials"),
    ({"image_pull_secrets": ["ghcr_io"]}, "resources.image_pull_secrets.0"),
    ({"image_pull_policy": "Sometimes"}, "resources.image_pull_policy"),
    ({"service_account": "a/b"}, "resources.service_account"),
    ({"run_as_user": 0}, "resources.run_as_user is 0, which is root"),
    ({"run_as_user": -1}, "resources.run_as_user"),
    ({"pod_labels": {"team": "our team"}}, "expected the value of a label, found 'our team'"),
    ({"retries": -1}, "resources.retries"),
    ({"retry_wait_factor": 0.5}, "resources.retry_wait_factor"),
    ({"retry_for_s": 0}, "resources.retry_for_s"),
    ({"parallelism": 0}, "resources.parallelism"),
    ({"nodes": 2}, "resources.nodes: the pods of a trial on 2 nodes share a folder, found no volume"),
    ({"run_deadline_s": 0}, "resources.run_deadline_s"),
    ({"run_ttl_s": 2**31}, "resources.run_ttl_s"),
]


@pytest.mark.parametrize(("settings", "expected"), REFUSALS, ids=[expected for _, expected in REFUSALS])
def test_a_wrong_setting_is_one_line_that_names_it(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**settings)
    line = describe_validation_error(caught.value)
    assert expected in line
    assert "\n" not in line


def test_by_default_a_trial_asks_for_one_gpu_and_a_light_task_for_none() -> None:
    resources = parse()
    assert [resources.request(kind).gpus for kind in TASK_KINDS] == [0, 1, 1]
    assert resources == ResourcesConfig()


@pytest.mark.parametrize(("profile", "gpus"), [("cpu", [0, 0, 0]), ("gpu", [0, 1, 1]), ("gpu-multi", [0, 1, 4])])
def test_a_profile_says_how_many_gpus_each_kind_of_task_asks_for(profile: str, gpus: list[int]) -> None:
    resources = parse(profile=profile)
    assert [resources.request(kind).gpus for kind in TASK_KINDS] == gpus


def test_the_number_of_gpus_is_that_of_trials_alone() -> None:
    resources = parse(profile="gpu-multi", gpus=8)
    assert [resources.request(kind).gpus for kind in TASK_KINDS] == [0, 1, 8]


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_field_of_a_kind_of_task_changes_that_field_of_that_kind_alone(kind: TaskKind) -> None:
    resources = parse(tasks={kind: {"timeout_s": 7}})
    for other in TASK_KINDS:
        changes = {"timeout_s": 7} if other == kind else {}
        assert resources.request(other) == ResourcesConfig().request(other).model_copy(update=changes)


def test_numbers_of_cpus_need_no_quotes() -> None:
    assert parse(tasks={"train": {"cpu": 12}}).request("train").cpu == "12"
    assert parse(tasks={"light": {"cpu": 0.5}}).request("light").cpu == "0.5"


def test_tasks_with_a_gpu_tolerate_the_taint_of_its_name_and_go_where_gpus_are() -> None:
    spot = {"key": "spot", "operator": "Exists"}
    resources = parse(
        gpu_type="amd.com/gpu",
        gpu_node_selector={"pool": "gpu", "zone": "a"},
        gpu_tolerations=[spot],
        tasks={"train": {"node_selector": {"zone": "b"}, "tolerations": [{"key": "team", "value": "vision"}]}},
    )
    taints = (Toleration(key="amd.com/gpu", operator="Exists"), Toleration(key="spot", operator="Exists"))
    assert resources.request("light").tolerations == ()
    assert resources.request("light").node_selector == {}
    assert resources.request("network").tolerations == taints
    assert resources.request("network").node_selector == {"pool": "gpu", "zone": "a"}
    assert resources.request("train").tolerations == (*taints, Toleration(key="team", value="vision"))
    assert resources.request("train").node_selector == {"pool": "gpu", "zone": "b"}


def test_without_gpus_no_task_goes_where_gpus_are() -> None:
    resources = parse(profile="cpu", gpu_node_selector={"pool": "gpu"})
    assert all(not resources.request(kind).node_selector for kind in TASK_KINDS)
    assert all(not resources.request(kind).tolerations for kind in TASK_KINDS)


def test_a_retry_may_start_after_the_longest_attempt_of_any_profile() -> None:
    longest = max(request.timeout_s for profile in PROFILES.values() for request in profile.values())
    assert ResourcesConfig().retry_for_s > longest


def test_several_nodes_with_a_volume_are_accepted() -> None:
    assert parse(nodes=2, volume=VOLUME).nodes == 2


def test_a_container_may_be_root_where_that_is_said() -> None:
    assert parse(run_as_user=0, run_as_non_root=False).run_as_user == 0
