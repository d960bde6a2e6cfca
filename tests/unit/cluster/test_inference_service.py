from collections.abc import Iterator

import pytest

from oodtune.cluster.connection import Cluster, connect
from oodtune.cluster.inference_service import Status, build, put_back, write
from oodtune.config.deploy import DeployConfig
from tests.fixtures.kubernetes_api import FakeCluster, serve_kubernetes

URI = "s3://models/emoji/versions/000001-0123456789ab"


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with serve_kubernetes(tmp_path_factory.mktemp("kubernetes")) as served:
        yield served


@pytest.fixture
def cluster(fake: FakeCluster) -> Cluster:
    fake.script()
    return connect(kubeconfig=fake.kubeconfig)


def service(**changes: object) -> dict:
    config = DeployConfig.model_validate({"service": "emoji", "image": "serve", **changes})
    return build(config, "team", URI)


def test_the_namespace_is_that_of_the_kubeconfig_unless_one_is_given(fake: FakeCluster) -> None:
    assert connect(kubeconfig=fake.kubeconfig).namespace == "team"
    assert connect("other", fake.kubeconfig).namespace == "other"


def test_what_others_added_stays(cluster: Cluster, fake: FakeCluster) -> None:
    _, created = write(cluster, service(), None)
    created["metadata"]["annotations"]["owner"] = "someone"
    created["spec"]["explainer"] = {"minReplicas": 1}
    write(cluster, created, None)
    write(cluster, service(max_replicas=3), None)
    found = fake.objects("inferenceservices")["emoji"]
    assert found["metadata"]["annotations"]["owner"] == "someone"
    assert found["spec"]["predictor"]["maxReplicas"] == 3


def test_what_someone_else_changed_since_is_not_put_back(cluster: Cluster, fake: FakeCluster) -> None:
    write(cluster, service(), None)
    before, written = write(cluster, service(max_replicas=2), None)
    write(cluster, service(max_replicas=3), None)
    assert "someone else" in put_back(cluster, before, written)
    assert fake.objects("inferenceservices")["emoji"]["spec"]["predictor"]["maxReplicas"] == 3


def test_a_field_that_kserve_does_not_know_is_refused_by_the_fake(cluster: Cluster) -> None:
    wrong = service()
    wrong["spec"]["predictor"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(Exception, match="redinessProbe"):
        write(cluster, wrong, None)


def test_a_status_counts_only_for_the_pods_that_it_is_about() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "observedGeneration": 7}
    before = {**service(), "status": ready}
    same_pods = {**service(max_replicas=2), "status": ready}
    new_pods = {**service(cpu="2"), "status": ready}
    seen = {**service(cpu="2"), "status": {**ready, "observedGeneration": 8}}
    rolling = {"predictor": {"latestCreatedRevision": "r-2", "latestReadyRevision": "r-1"}}
    assert Status(same_pods).shows(before)
    assert not Status(new_pods).shows(before)
    assert Status(seen).shows(before)
    assert not Status({**seen, "status": {**seen["status"], "components": rolling}}).shows(before)


def test_a_pod_asks_by_the_inner_address_and_others_by_the_public_one() -> None:
    status = Status({"status": {"url": "http://public", "address": {"url": "http://inner"}}})
    assert status.addresses(is_inside=True) == ["http://inner"]
    assert status.addresses(is_inside=False) == ["http://public"]


def test_a_spec_that_kserve_calls_invalid_is_told_with_its_reason() -> None:
    info = {"reason": "InvalidPredictorSpec", "message": "no runtime"}
    status = Status({"status": {"modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo": info}}})
    assert status.invalid == "InvalidPredictorSpec: no runtime"
    assert Status({"status": {"modelStatus": {"transitionStatus": "InProgress"}}}).invalid is None
