"""What no manifest may ask for, whoever changes it: checked on what k8s.deploy sends."""

import re

import pytest

from k8s.render import containers_of, images_of
from tests.fixtures.manifests import (
    DEPLOYMENTS,
    IMAGE,
    OVERLAYS,
    SERVING,
    find,
    manifests,
    needs_kubectl,
    pod_of,
    server_of,
)

pytestmark = needs_kubectl

SECRET_WORDS = re.compile(r"(?i)secret_access|password|passwd|private key|token:? *[0-9a-zA-Z_-]{12,}|AKIA[0-9A-Z]{12}")


def values_of(node):
    """Yield (key, value) of every scalar in a manifest."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from ([(key, value)] if not isinstance(value, dict | list) else values_of(value))
    elif isinstance(node, list):
        for one in node:
            yield from values_of(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_is_the_one_that_was_asked_for_by_digest(overlay):
    assert images_of(list(manifests(overlay))) == ({IMAGE} if overlay in SERVING else set())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_manifest_holds_a_secret(overlay):
    assert [one for one in manifests(overlay) if one["kind"] == "Secret"] == []
    for one in manifests(overlay):
        for key, value in values_of(one):
            assert not (key == "value" and SECRET_WORDS.search(str(value))), (key, value)
    for container in containers_of(list(manifests(overlay))):
        for variable in container.get("env", []):
            is_secret = re.search("TOKEN|KEY|SECRET|PASSWORD", variable["name"]) is not None
            assert ("secretKeyRef" in variable.get("valueFrom", {})) == is_secret, variable["name"]


@pytest.mark.parametrize("overlay", SERVING)
def test_containers_have_no_more_rights_than_restricted_pods_may_have(overlay):
    for container in containers_of(list(manifests(overlay))):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        pod = pod_of(overlay)["spec"]["securityContext"] if overlay in DEPLOYMENTS else {}
        both = pod | context
        assert both["runAsNonRoot"] is True
        assert both["runAsUser"] == both["runAsGroup"] == 10001
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_sees_its_node(overlay):
    seen = {key: value for one in manifests(overlay) for key, value in values_of(one)}
    assert seen.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "hostPort", "nodeName"})
    assert "hostPath" not in str(manifests(overlay))


@pytest.mark.parametrize("overlay", SERVING)
def test_only_empty_directories_of_bounded_size_can_be_written(overlay):
    kind = "ServingRuntime" if overlay == "kserve" else "Deployment"
    spec = find(overlay, kind)["spec"]
    volumes = (spec if overlay == "kserve" else spec["template"]["spec"])["volumes"]
    assert all(volume["emptyDir"]["sizeLimit"] for volume in volumes)
    mounts = {mount["name"]: mount["mountPath"] for mount in server_of(overlay)["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in volumes}
    env = {one["name"]: one.get("value") for one in server_of(overlay)["env"]}
    assert {env["TMPDIR"], env["HOME"]} == set(mounts.values())


@pytest.mark.parametrize("overlay", SERVING)
def test_every_container_has_requests_and_limits_of_cpu_and_memory(overlay):
    for container in containers_of(list(manifests(overlay))):
        asked = container["resources"]
        assert {"cpu", "memory"} <= asked["requests"].keys() & asked["limits"].keys()
        assert asked["requests"]["memory"] == asked["limits"]["memory"]  # a node that overcommits memory kills pods


@pytest.mark.parametrize("overlay", SERVING)
def test_the_server_has_no_token_of_the_cluster(overlay):
    assert find(overlay, "ServiceAccount")["automountServiceAccountToken"] is False
    if overlay in DEPLOYMENTS:
        assert pod_of(overlay)["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_a_lost_secret_does_not_open_the_endpoint(overlay):
    references = {
        one["name"]: one["valueFrom"]["secretKeyRef"] for one in server_of(overlay)["env"] if "valueFrom" in one
    }
    assert references["OODTUNE_TOKEN"]["optional"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_role_holds_a_wildcard_or_reads_secrets(overlay):
    for one in manifests(overlay):
        for rule in one.get("rules", []) if one["kind"] in ("Role", "ClusterRole") else []:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            assert "secrets" not in rule["resources"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_namespace_that_an_overlay_makes_has_a_level_of_pod_security(overlay):
    for one in manifests(overlay):
        if one["kind"] == "Namespace":
            labels = one["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] in ("baseline", "restricted")
            assert labels["pod-security.kubernetes.io/audit"] == "restricted"


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_network_lets_in_clients_on_two_ports_and_prometheus_on_the_third(overlay):
    policy = find(overlay, "NetworkPolicy")["spec"]
    labels = pod_of(overlay)["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    allowed = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed.keys() == {port["name"] for port in server_of(overlay)["ports"]} == {"http", "grpc", "metrics"}
    assert allowed["http"] == allowed["grpc"] == [{"podSelector": {}}]
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert allowed["metrics"] == [{"namespaceSelector": monitoring}]


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_server_may_reach_name_servers_and_https_only(overlay):
    rules = find(overlay, "NetworkPolicy")["spec"]["egress"]
    ports = {(port["protocol"], port["port"]): "to" in rule for rule in rules for port in rule["ports"]}
    assert ports == {("UDP", 53): True, ("TCP", 53): True, ("TCP", 443): False}
