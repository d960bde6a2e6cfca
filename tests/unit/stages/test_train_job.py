"""A trial on several nodes against a fake API server; the SDK of Kubeflow and its models are real."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import AugmentConfig, MethodConfig, PreprocessConfig, ResourcesConfig, TrainConfig
from oodtune.config.resources import TaskConfig, VolumeConfig
from oodtune.errors import ClusterError, ConfigError
from oodtune.stages import train, train_job
from oodtune.stages.failures import recorded_failures
from oodtune.stages.planned import PlannedTrial
from oodtune.trial import NetworkSpec, Trial, TrialRecord
from tests.fixtures.kubernetes_api import FakeCluster, serve_kubernetes

IMAGE = "registry/train@sha256:1"

pytestmark = pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning")  # of kubeflow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with serve_kubernetes(tmp_path_factory.mktemp("kubernetes")) as served:
        yield served


@dataclass(frozen=True)
class Work:
    """A trial to train, and a volume that stands for the one that all pods mount."""

    cluster: FakeCluster
    volume: Path
    item: str
    params: train_job.Params

    @property
    def out(self) -> Path:
        return self.volume.parent / "out"

    def run(self, image: str = IMAGE, **changes: object) -> None:
        params = train_job.Params(resources=self.params.resources.model_copy(update=changes))
        train_job.run(
            self.volume / "cache",
            self.volume / "init",
            self.out,
            self.item,
            image,
            params,
            self.volume / "shared",
            kubeconfig=self.cluster.kubeconfig,
            poll_s=0.02,
        )

    def job(self) -> dict:
        (job,) = self.cluster.objects("trainjobs").values()
        return job


@pytest.fixture
def work(cluster: FakeCluster, tmp_path: Path) -> Work:
    volume = tmp_path / "volume"
    for kind in ("cache", "init"):
        with create_artifact(volume / kind, kind) as writer:
            (writer.path / "content").write_text(kind)
    trial = Trial(target_domain="ink", method="plain", learning_rate=5e-05, weight_decay=0.0001, seed=0)
    params = train.Params(augment=AugmentConfig(), train=TrainConfig(), method=MethodConfig())
    resources = ResourcesConfig.model_validate(
        {
            "profile": "gpu-multi",
            "nodes": 2,
            "volume": {"claim": "images", "sub_path": "emoji"},
            "gpu_node_selector": {"pool": "a100"},
            "image_pull_secrets": ["registry"],
            "run_as_user": 1000,
            "run_as_group": 1000,
            "pod_labels": {"team": "vision"},
        }
    )
    mounted = VolumeConfig.model_construct(claim="images", mount_path=str(volume), sub_path="emoji")
    planned = PlannedTrial(trial=trial, params=params)
    cluster.script()
    return Work(
        cluster,
        volume,
        planned.to_json(),
        train_job.Params(resources=resources.model_copy(update={"volume": mounted})),
    )


def in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def when(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def record_of(item: str) -> TrialRecord:
    """Return what a trial of the plan says of itself when it is trained."""
    preprocess = PreprocessConfig(size=32, interpolation="bicubic")
    network = NetworkSpec(backbone="test_resnet", classes=("a", "b"), preprocess=preprocess)
    trial = PlannedTrial.from_json(item).trial
    return TrialRecord(trial=trial, network=network, init_digest="0", best_step=20, source_accuracy=0.5)


def worker(work: Work, log: str = "step 10\nstep 20\n") -> threading.Thread:
    """Do in place of the pods what they are told: leave a trial at --out, and say so."""

    def act() -> None:
        when(lambda: bool(work.cluster.objects("trainjobs")))
        arguments = work.job()["spec"]["trainer"]["args"]
        with create_artifact(Path(arguments[arguments.index("--out") + 1]), "trial") as writer:
            (writer.path / "weights").write_text("trained")
            writer.details.update(record_of(arguments[-1]).model_dump(mode="json"))
        work.cluster.change(trial="Complete", log=log)

    return in_background(act)


def test_the_job_asks_for_what_the_settings_say(work: Work) -> None:
    worker(work)
    work.run()
    spec = work.job()["spec"]
    trainer = spec["trainer"]
    assert spec["runtimeRef"] == {"kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
    assert (trainer["image"], trainer["numNodes"], trainer["command"]) == (IMAGE, 2, ["torchrun"])
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": 4}
    assert trainer["args"][:4] == ["--nproc-per-node=4", "-m", "oodtune", "train-planned"]
    assert trainer["args"][-2:] == ["--item", work.item]
    job = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    pod = job["template"]["spec"]["template"]["spec"]
    mounts = {one["name"]: one for one in pod["containers"][0]["volumeMounts"]}
    assert {"name": "shared", "persistentVolumeClaim": {"claimName": "images"}} in pod["volumes"]
    assert mounts["shared"] == {"name": "shared", "mountPath": str(work.volume), "subPath": "emoji"}
    assert mounts["dshm"]["mountPath"] == "/dev/shm"
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists"} in pod["tolerations"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    assert job["template"]["spec"]["template"]["metadata"] == {"labels": {"team": "vision"}}


def test_the_trial_is_found_at_out_and_its_log_is_shown_once(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    worker(work)
    work.run()
    assert (open_artifact(work.out, "trial").path / "weights").read_text() == "trained"
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line.startswith("step")] == ["step 10", "step 20"]
    assert any(line.endswith("Complete (node-0 Succeeded, node-1 Succeeded)") for line in shown)


def test_a_finished_trial_makes_no_second_job(work: Work) -> None:
    worker(work)
    work.run()
    before = work.cluster.log()
    work.run()
    assert work.cluster.log() == before == ["POST trainjobs 201"]


@pytest.mark.parametrize(("image", "is_same"), [(IMAGE, True), ("registry/train@sha256:2", False)])
def test_a_retry_goes_on_with_the_job_that_runs_if_its_image_is_the_same(
    work: Work, image: str, is_same: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first attempt dies without a word, as a pod whose node is lost."""

    def break_off() -> None:
        when(lambda: bool(work.cluster.objects("trainjobs")))
        work.cluster.change(forbidden=["GET trainjobs"])

    in_background(break_off)
    with pytest.raises(ClusterError, match="not allowed"):
        work.run()
    uid = work.job()["metadata"]["uid"]
    work.cluster.change(forbidden=[])
    if is_same:
        worker(work)
    else:
        worker_after(work, uid)
    work.run(image)
    assert (work.job()["metadata"]["uid"] == uid) is is_same
    assert ("going on with the one that there is" in capsys.readouterr().err) is is_same


def test_a_job_whose_work_was_lost_makes_place_for_another(work: Work) -> None:
    worker(work)
    work.run()
    next((work.volume / "shared" / "trial").glob("ink-*")).rename(work.volume / "lost")
    work.cluster.change(trial="run")
    worker_after(work, work.job()["metadata"]["uid"])
    work.run(image="registry/train@sha256:2")
    assert work.job()["spec"]["trainer"]["image"] == "registry/train@sha256:2"
    assert work.cluster.log() == ["POST trainjobs 201", "DELETE trainjobs 200", "POST trainjobs 201"]


def worker_after(work: Work, uid: str) -> threading.Thread:
    """Start working when there is another job than the one of `uid`."""

    def is_there() -> bool:
        return any(job["metadata"]["uid"] != uid for job in work.cluster.objects("trainjobs").values())

    def act() -> None:
        when(is_there)
        worker(work).join()

    return in_background(act)


def test_the_trials_own_words_are_recorded_as_its_failure(work: Work) -> None:
    work.cluster.script(trial="Failed", log="step 10\nerror: the loss is not finite\n")
    work.run()
    (reason,) = recorded_failures([work.out]).values()
    assert reason.startswith("the loss is not finite")
    assert work.job()  # kept for its logs


def test_a_pod_that_is_killed_gives_its_reason_and_a_retry_starts_anew(work: Work) -> None:
    work.cluster.script(trial="Failed")
    with pytest.raises(ClusterError, match=r"container node: OOMKilled \(exit code 137\).*kept for its logs") as caught:
        work.run()
    assert "\n" not in str(caught.value)
    uid = work.job()["metadata"]["uid"]
    work.cluster.change(trial="run")
    worker_after(work, uid)
    work.run()
    assert work.cluster.log() == ["POST trainjobs 201", "DELETE trainjobs 200", "POST trainjobs 201"]
    assert open_artifact(work.out, "trial")


def test_a_job_that_finds_no_node_in_time_is_deleted_and_says_why(work: Work) -> None:
    work.cluster.script(trial="pending")
    with pytest.raises(ClusterError, match=r"within 1 s \(.*Unschedulable: 0/3 nodes are available.*it is deleted"):
        work.run(tasks={"train": TaskConfig(timeout_s=1)})
    assert work.cluster.objects("trainjobs") == {}


def test_a_signal_deletes_the_job(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        when(lambda: bool(work.cluster.objects("trainjobs")))
        os.kill(os.getpid(), signal.SIGTERM)

    in_background(stop)
    with pytest.raises(SystemExit) as caught:
        work.run()
    assert caught.value.code == 128 + signal.SIGTERM
    assert work.cluster.objects("trainjobs") == {}
    assert "is deleted" in capsys.readouterr().err


def test_a_server_that_fails_for_a_while_does_not_end_the_wait(work: Work) -> None:
    work.cluster.script(failures=5)
    worker(work)
    work.run()
    assert open_artifact(work.out, "trial")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"missing": ["trainer.kubeflow.org"]}, "install Kubeflow Trainer 2"),
        ({"forbidden": ["POST trainjobs"]}, "not allowed .403: .*cannot create"),
        ({"forbidden": ["GET clustertrainingruntimes"]}, "not allowed .403: .*clustertrainingruntimes"),
        ({"webhook": "quota"}, "refused .403: .*quota"),
    ],
)
def test_a_refusal_is_one_line(work: Work, script: dict, said: str) -> None:
    work.cluster.script(**script)
    with pytest.raises(ClusterError, match=said) as caught:
        work.run()
    assert "\n" not in str(caught.value)


def test_work_that_is_not_on_the_volume_is_refused(work: Work, tmp_path: Path) -> None:
    with create_artifact(tmp_path / "local", "cache"):
        pass
    (work.volume / "cache").rename(work.volume / "moved")
    (work.volume / "cache").symlink_to(tmp_path / "local")
    with pytest.raises(ConfigError, match="expected a path on the volume"):
        work.run()


def test_names_of_jobs_fit_and_keep_their_end() -> None:
    name = train_job.job_name("Some_Very-Long+Domain-large_dropout-lr5e-05-wd0.0001-seed0-0123456789abcdef")
    assert len(name) <= train_job.MAX_NAME
    assert name.startswith("oodtune-some-very-long-doma")
    assert name.endswith("-0123456789abcdef")
