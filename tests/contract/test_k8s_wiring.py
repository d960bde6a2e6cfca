"""What the overlays that serve say of the server is what the server is: ports, routes, variables, times, sizes."""

import asyncio
import re

import httpx
import pytest

from oodtune.config import ServeConfig
from oodtune.preprocess import MAX_PIXELS
from oodtune.serve.app import create_app
from oodtune.serve.drain import FIRST_REQUEST_S, GOODBYE_S, LINGER_S
from oodtune.serve.parts import DRAIN_S, create_parts
from oodtune.serve.settings import VARIABLES, read_settings
from tests.fixtures.manifests import DEPLOYMENTS, SERVING, find, manifests, needs_kubectl, pod_of, server_of, variables

pytestmark = needs_kubectl

PROBES = {"cpu": 3, "gpu": 3, "kserve": 2}
AMAZON = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"}
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def settings_of(overlay, **more):
    """Return the settings that the server reads from the environment of its container."""
    given = {**variables(overlay), **more, "OODTUNE_WORKERS": str(server_of(overlay)["resources"]["limits"]["cpu"])}
    return read_settings(ServeConfig(), environ=given)


def probes_of(overlay):
    container = server_of(overlay)
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    return {kind: container[kind] for kind in kinds if kind in container}


def num_bytes(quantity):
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


@pytest.mark.parametrize("overlay", SERVING)
def test_every_variable_is_one_that_the_server_or_boto3_reads(overlay):
    names = {one["name"] for one in server_of(overlay)["env"]} | variables(overlay).keys()
    assert names - set(VARIABLES.values()) - AMAZON == {"TMPDIR", "HOME", "ORT_DISABLE_TELEMETRY"}


@pytest.mark.parametrize("overlay", SERVING)
def test_onnx_runtime_tells_its_makers_nothing(overlay):
    assert variables(overlay)["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("overlay", SERVING)
def test_the_server_takes_the_settings_and_listens_where_the_pod_says(overlay):
    settings = settings_of(overlay)
    ports = {port["name"]: port["containerPort"] for port in server_of(overlay)["ports"]}
    assert settings.host == "0.0.0.0"
    assert settings.allow_cpu is False
    if overlay == "kserve":  # Knative allows one port; /metrics listens beside it
        assert ports == {"http1": settings.port}
        assert settings.bundle is settings.grpc_port is None
        annotations = find(overlay, "ServingRuntime")["spec"]["annotations"]
        assert annotations["prometheus.kserve.io/port"] == str(settings.metrics_port)
    else:
        expected = {"http": settings.port, "grpc": settings.grpc_port, "metrics": settings.metrics_port}
        assert ports == expected
        assert settings.bundle.startswith("s3://")
    assert len({settings.port, settings.grpc_port, settings.metrics_port}) == 3


@pytest.mark.parametrize("overlay", SERVING)
def test_probes_ask_routes_of_the_application_on_its_port_without_a_token(overlay):
    parts = create_parts(settings_of(overlay, OODTUNE_TOKEN="a" * 32))
    app = create_app(parts)
    ports = {port["name"]: port["containerPort"] for port in server_of(overlay)["ports"]}
    probes = probes_of(overlay)
    assert len(probes) == PROBES[overlay]

    async def ask(path):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod") as client:
            return await client.get(path)

    assert asyncio.run(ask("/v2/models/model")).status_code == 401
    for probe in probes.values():
        request = probe["httpGet"]
        assert ports.get(request["port"], request["port"]) == parts.settings.port
        answer = asyncio.run(ask(request["path"]))
        assert answer.status_code in (200, 503)
        assert answer.json().keys() <= {"live", "ready"}


@pytest.mark.parametrize("overlay", SERVING)
def test_a_slow_load_restarts_nothing_and_a_drain_takes_the_pod_out(overlay):
    probes = probes_of(overlay)
    assert probes["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert {probes[kind]["httpGet"]["path"] for kind in probes.keys() - {"readinessProbe"}} == {"/v2/health/live"}


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_a_pod_is_given_the_longest_time_that_its_end_can_take(overlay):
    pod, settings = pod_of(overlay)["spec"], settings_of(overlay)
    sleep_s = server_of(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    on_its_way_s = LINGER_S + FIRST_REQUEST_S + GOODBYE_S
    longest_s = sleep_s + on_its_way_s + 3 * DRAIN_S + settings.timeout_s  # HTTP, gRPC, a model that is being opened
    assert sleep_s >= probes_of(overlay)["readinessProbe"]["periodSeconds"]
    assert longest_s <= pod["terminationGracePeriodSeconds"] <= 2 * longest_s


@pytest.mark.parametrize("overlay", SERVING)
def test_memory_holds_the_server_all_bodies_and_a_largest_image_for_each_worker(overlay):
    settings, limits = settings_of(overlay), server_of(overlay)["resources"]["limits"]
    server_bytes = 268 * 10**6  # benchmarks/README.md, 224 px
    image_bytes = 403 * 2**20 * MAX_PIXELS // 25_000_000  # WebP, the costliest format: measured
    model_bytes = 2 * 330 * 2**20  # of a ViT-B beside the one that serves, while it is opened
    needed = server_bytes + settings.max_buffered_bytes + settings.workers * image_bytes + model_bytes
    assert needed <= num_bytes(limits["memory"])


@pytest.mark.parametrize("overlay", SERVING)
def test_cpus_are_whole_and_reserved_since_each_is_a_worker(overlay):
    asked = server_of(overlay)["resources"]
    assert re.fullmatch(r"[1-9]\d*", str(asked["limits"]["cpu"]))
    assert asked["requests"]["cpu"] == asked["limits"]["cpu"]


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_disk_holds_what_its_volumes_may_hold(overlay):
    volumes = pod_of(overlay)["spec"]["volumes"]
    limit = server_of(overlay)["resources"]["limits"]["ephemeral-storage"]
    assert sum(num_bytes(volume["emptyDir"]["sizeLimit"]) for volume in volumes) < num_bytes(limit)


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_service_leads_to_ports_of_the_pod_by_their_names(overlay):
    service, labels = find(overlay, "Service")["spec"], pod_of(overlay)["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in server_of(overlay)["ports"]}
    assert {port["name"]: port["port"] for port in service["ports"]} == ports
    assert all(port["targetPort"] == port["name"] for port in service["ports"])
    assert {port["name"]: port["appProtocol"] for port in service["ports"]}["grpc"] == "kubernetes.io/h2c"


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_deployment_budget_and_spread_select_the_same_pods(overlay):
    pod = pod_of(overlay)
    selected = find(overlay, "Deployment")["spec"]["selector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()
    spreads = pod["spec"]["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spreads} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    selectors = [one["labelSelector"]["matchLabels"] for one in spreads]
    selectors += [find(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    assert all(one == selected for one in selectors)


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_autoscaler_owns_the_number_of_an_existing_deployment(overlay):
    deployment, scaler = find(overlay, "Deployment"), find(overlay, "HorizontalPodAutoscaler")["spec"]
    target = scaler["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (deployment["apiVersion"], deployment["kind"])
    assert target["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert 2 <= scaler["minReplicas"] <= scaler["maxReplicas"]


def test_cpus_are_scaled_by_their_use_and_gpus_by_a_metric_that_the_server_has():
    (cpu,) = find("cpu", "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert cpu["resource"]["target"]["averageUtilization"] < 100
    (gpu,) = find("gpu", "HorizontalPodAutoscaler")["spec"]["metrics"]
    exported = create_parts(settings_of("cpu")).metrics.render().decode()
    assert f"# TYPE {gpu['pods']['metric']['name']} gauge" in exported


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_a_rollout_takes_no_replica_away_and_a_drain_one_at_a_time(overlay):
    strategy = find(overlay, "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    budget = find(overlay, "PodDisruptionBudget")["spec"]
    assert 1 <= budget["maxUnavailable"] < find(overlay, "HorizontalPodAutoscaler")["spec"]["minReplicas"]


def test_a_change_of_a_setting_is_a_rollout():
    names = {overlay: find(overlay, "ConfigMap")["metadata"]["name"] for overlay in DEPLOYMENTS}
    assert all(re.fullmatch(r"oodtune-settings-[a-z0-9]{10}", name) for name in names.values())
    assert names["cpu"] != names["gpu"]  # their settings differ
    for overlay, name in names.items():
        assert server_of(overlay)["envFrom"] == [{"configMapRef": {"name": name}}]


def test_gpu_replicas_ask_for_one_gpu_and_use_it():
    container = server_of("gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert settings_of("gpu").provider == "cuda"
    assert settings_of("gpu").batch_wait_s > 0
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod_of("gpu")["spec"][
        "tolerations"
    ]


def test_kserve_finds_the_runtime_of_the_service():
    runtime, service = find("kserve", "ServingRuntime"), find("kserve", "InferenceService")
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    formats = [(one["name"], one["version"]) for one in runtime["spec"]["supportedModelFormats"]]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert predictor["serviceAccountName"] == find("kserve", "ServiceAccount")["metadata"]["name"]


def test_a_canary_of_kserve_names_one_version_of_a_registry():
    from oodtune.registry.place import PRODUCTION, parse_address

    predictor = find("kserve", "InferenceService")["spec"]["predictor"]
    assert 0 < predictor["canaryTrafficPercent"] < 100
    assert parse_address(predictor["model"]["storageUri"])[1] != PRODUCTION


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_every_reference_of_a_pod_leads_to_an_object_of_the_overlay(overlay):
    names = {(one["kind"], one["metadata"]["name"]) for one in manifests(overlay)}
    assert ("ServiceAccount", pod_of(overlay)["spec"]["serviceAccountName"]) in names
