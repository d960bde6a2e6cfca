"""The deploy stage against a fake API server; the client, the endpoint and its bundle are real."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.config.deploy import DeployConfig
from oodtune.errors import ClusterError, ConfigError, Stopped
from oodtune.stages import deploy
from tests.fixtures.kubernetes_api import FakeCluster, serve_kubernetes, write_kubeconfig
from tests.unit.serve.running import running
from tests.unit.tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server of a tiny bundle."""
    with running(str(tiny_bundle()), "--workers", "1") as (_, address):
        yield address


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with serve_kubernetes(tmp_path_factory.mktemp("kubernetes")) as served:
        yield served


@pytest.fixture(scope="module")
def digest() -> str:
    return open_artifact(tiny_bundle(), "bundle").digest


def uri(number: int, digest: str) -> str:
    return f"s3://models/emoji/versions/{number:06}-{digest[:12]}"


def deploy_version(cluster: FakeCluster, version: str, **changes: object) -> str:
    settings = {"service": "emoji", "image": "registry/serve@sha256:1", "timeout_s": 1, "smoke_timeout_s": 1}
    params = deploy.Params(deploy=DeployConfig.model_validate({**settings, **changes}))
    return deploy.run(version, params, kubeconfig=cluster.kubeconfig, poll_s=0.02)


def predictor(cluster: FakeCluster) -> dict:
    return cluster.objects("inferenceservices")["emoji"]["spec"]["predictor"]


def served_uri(cluster: FakeCluster) -> str:
    return predictor(cluster)["containers"][0]["env"][0]["value"]


def dead_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_a_service_nothing_is_deployed() -> None:
    assert deploy.run("s3://any", deploy.Params(deploy=DeployConfig())) == ""


def test_a_service_without_a_published_version_is_refused(cluster: FakeCluster) -> None:
    with pytest.raises(ConfigError, match=r"expected the address of a published version"):
        deploy_version(cluster, "")


def test_a_first_version_is_created_and_answers(cluster: FakeCluster, endpoint: str, digest: str) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint}, after=3)
    url = deploy_version(cluster, uri(1, digest), gpus=1, service_account="s3-reader", canary_percent=10)
    made = predictor(cluster)
    assert url == endpoint
    assert served_uri(cluster) == uri(1, digest)
    assert made["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert made["serviceAccountName"] == "s3-reader"
    assert "canaryTrafficPercent" not in made  # there is nothing beside it yet
    assert cluster.log() == ["POST inferenceservices 201"]


def test_the_same_version_again_changes_nothing(cluster: FakeCluster, endpoint: str, digest: str) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint})
    deploy_version(cluster, uri(1, digest), canary_percent=10)
    first = cluster.objects("inferenceservices")["emoji"]
    assert deploy_version(cluster, uri(1, digest), canary_percent=10) == endpoint
    again = cluster.objects("inferenceservices")["emoji"]
    assert again["metadata"]["generation"] == first["metadata"]["generation"]
    assert again["spec"] == first["spec"]


def test_a_new_version_replaces_the_old_also_after_conflicts(cluster: FakeCluster, endpoint: str, digest: str) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint, uri(2, digest): endpoint})
    deploy_version(cluster, uri(1, digest))
    cluster.change(conflicts=2, after=4, failures=2)
    deploy_version(cluster, uri(2, digest))
    assert served_uri(cluster) == uri(2, digest)
    assert cluster.log()[1:] == ["PUT inferenceservices 409"] * 2 + ["PUT inferenceservices 200"]


def test_readiness_of_the_old_pods_does_not_count_for_the_new_version(
    cluster: FakeCluster, endpoint: str, digest: str
) -> None:
    """The old ones are ready and serve the very same bundle; the new ones never come."""
    cluster.script(endpoints={uri(1, digest): endpoint})
    deploy_version(cluster, uri(1, digest))
    with pytest.raises(ClusterError, match=r"not ready within 1 s .*the previous version is back"):
        deploy_version(cluster, uri(2, digest))
    assert served_uri(cluster) == uri(1, digest)


def test_a_first_version_that_is_not_ready_in_time_is_deleted(cluster: FakeCluster, digest: str) -> None:
    cluster.script()
    with pytest.raises(ClusterError, match=r"not ready within 1 s .*it is deleted again"):
        deploy_version(cluster, uri(1, digest))
    assert cluster.objects("inferenceservices") == {}


def test_a_pod_that_cannot_start_ends_the_wait_and_is_explained(
    cluster: FakeCluster, endpoint: str, digest: str
) -> None:
    waits = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    cluster.script(endpoints={uri(1, digest): endpoint}, broken={uri(2, digest): waits})
    deploy_version(cluster, uri(1, digest))
    before = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        deploy_version(cluster, uri(2, digest), timeout_s=60)
    text = str(caught.value)
    assert time.monotonic() - before < 10
    assert "container kserve-container: ImagePullBackOff: Back-off pulling image" in text
    assert "emoji-predictor-00002: Failed: Error: ImagePullBackOff" in text  # the event
    assert text.endswith("the previous version is back")
    assert "\n" not in text


def test_an_endpoint_that_serves_another_model_is_rolled_back(cluster: FakeCluster, endpoint: str, digest: str) -> None:
    other = uri(2, "0" * 64)
    cluster.script(endpoints={uri(1, digest): endpoint, other: endpoint})
    deploy_version(cluster, uri(1, digest))
    with pytest.raises(ClusterError, match=f"serves the model {digest[:12]}, expected 0{{12}}; the previous .* back"):
        deploy_version(cluster, other)
    assert served_uri(cluster) == uri(1, digest)


def test_an_endpoint_that_does_not_answer_is_rolled_back(cluster: FakeCluster, digest: str) -> None:
    cluster.script(endpoints={uri(1, digest): dead_endpoint()})
    with pytest.raises(ClusterError, match=r"does not answer .*it is deleted again"):
        deploy_version(cluster, uri(1, digest))


def test_a_canary_gets_its_share_and_is_asked_at_its_own_address(
    cluster: FakeCluster, endpoint: str, digest: str
) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint, uri(2, digest): endpoint})
    deploy_version(cluster, uri(1, digest))
    deploy_version(cluster, uri(2, digest), canary_percent=10)
    assert predictor(cluster)["canaryTrafficPercent"] == 10
    cluster.change(endpoints={uri(3, "0" * 64): dead_endpoint()})
    with pytest.raises(ClusterError, match=r"expected 0{12}; the previous version is back"):
        deploy_version(cluster, uri(3, "0" * 64), canary_percent=10)
    assert served_uri(cluster) == uri(2, digest)
    cluster.change(endpoints={uri(2, digest): endpoint})
    deploy_version(cluster, uri(2, digest))  # without a share: all requests
    assert "canaryTrafficPercent" not in predictor(cluster)


def test_a_canary_is_refused_where_kserve_would_ignore_its_share(
    cluster: FakeCluster, endpoint: str, digest: str
) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint}, mode="Standard")
    deploy_version(cluster, uri(1, digest))
    with pytest.raises(ClusterError, match=r"deploy.canary_percent: expected a service that Knative runs"):
        deploy_version(cluster, uri(2, digest), canary_percent=10)
    assert served_uri(cluster) == uri(1, digest)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"missing": ["serving.kserve.io"]}, "does not know this kind of object .404.; install KServe"),
        ({"forbidden": ["POST inferenceservices"]}, "not allowed .403: .*runner.* bind a role"),
        ({"forbidden": ["GET pods"]}, "not allowed .403: pods is forbidden"),
        ({"webhook": "no gpu for you"}, "refused .403: .*no gpu for you"),
    ],
)
def test_a_refusal_is_one_line(cluster: FakeCluster, digest: str, script: dict, said: str) -> None:
    cluster.script(**script)
    with pytest.raises(ClusterError, match=said) as caught:
        deploy_version(cluster, uri(1, digest))
    assert "\n" not in str(caught.value)


def test_wrong_credentials_and_a_silent_cluster_are_one_line(cluster: FakeCluster, digest: str, tmp_path: Path) -> None:
    cluster.script()
    wrong = FakeCluster(cluster.url, write_kubeconfig(tmp_path / "wrong", cluster.url, token="stale"))
    silent = FakeCluster(cluster.url, write_kubeconfig(tmp_path / "silent", dead_endpoint()))
    with pytest.raises(ClusterError, match=r"does not accept these credentials"):
        deploy_version(wrong, uri(1, digest))
    with pytest.raises(ClusterError, match=r"does not answer"):
        deploy_version(silent, uri(1, digest))


def test_a_signal_puts_the_previous_version_back(cluster: FakeCluster, endpoint: str, digest: str) -> None:
    cluster.script(endpoints={uri(1, digest): endpoint})
    deploy_version(cluster, uri(1, digest))

    def stop_when_written() -> None:
        while len(cluster.log()) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=stop_when_written)
    killer.start()
    with pytest.raises(Stopped, match=r"the previous version is back") as caught:
        deploy_version(cluster, uri(2, digest), timeout_s=60)
    killer.join()
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert served_uri(cluster) == uri(1, digest)


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected the image that 'emoji' runs"):
        DeployConfig(service="emoji")
    with pytest.raises(ValueError, match=r"expected at least the 3 of min_replicas"):
        DeployConfig(min_replicas=3)
