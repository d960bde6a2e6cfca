"""Every object that an overlay sends is one that an API server takes: no field is unknown, none has a wrong type."""

from copy import deepcopy

import kubernetes_validate
import pytest

from tests.fixtures.manifests import NEWEST, OLDEST, OVERLAYS, SERVING, complaints, find, manifests, needs_kubectl

pytestmark = needs_kubectl


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_fits_the_strict_schema_of_its_kind(overlay, version):
    # Types of the newest Kubernetes are what custom resources embed.
    found = {
        f"{one['kind']} {one['metadata']['name']}": complaints(one, version if _is_core(one) else NEWEST)
        for one in manifests(overlay)
    }
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_two_objects_of_an_overlay_have_one_name(overlay):
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in manifests(overlay)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_says_what_it_belongs_to(overlay):
    for one in manifests(overlay):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "oodtune"
        assert labels["app.kubernetes.io/component"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "lifecycle", "preStop")),
        ("Deployment", ("spec", "template", "spec", "topologySpreadConstraints", 1)),
        ("Service", ("spec", "ports", 2)),
        ("NetworkPolicy", ("spec", "ingress", 0, "from", 0)),
        ("HorizontalPodAutoscaler", ("spec", "metrics", 0, "resource", "target")),
        ("PodDisruptionBudget", ("spec",)),
    ],
)
def test_an_unknown_field_deep_in_an_object_is_refused(kind, path):
    broken = deepcopy(find("cpu", kind))
    target = broken
    for key in path:
        target = target[key]
    target["secondz"] = 5
    assert any("'secondz' was unexpected" in wrong for wrong in complaints(broken, OLDEST))


def test_the_package_of_the_schemas_agrees_on_what_is_right_and_wrong():
    good = find("cpu", "Deployment")
    assert kubernetes_validate.validate(good, NEWEST, strict=True) == NEWEST.rpartition(".")[0]
    bad = deepcopy(good)
    bad["spec"]["template"]["spec"]["containers"][0]["image_pull_policy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="image_pull_policy"):
        kubernetes_validate.validate(bad, NEWEST, strict=True)
    assert complaints(bad, NEWEST) != []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("InferenceService", ("spec", "predictor", "canaryTraffic"), 10),
        ("InferenceService", ("spec", "predictor", "canaryTrafficPercent"), "10"),
        ("InferenceService", ("spec", "predictor", "model", "storageURI"), "s3://models/birds"),
        ("ServingRuntime", ("spec", "protocolVersion"), "v2"),
        ("ServingRuntime", ("spec", "supportedModelFormats"), {"name": "oodtune"}),
        ("ServingRuntime", ("spec", "securityContext"), {"runAsNonRoot": True}),
    ],
)
def test_a_field_that_kserve_does_not_know_or_of_another_type_is_refused(kind, path, value):
    broken = deepcopy(find("kserve", kind))
    assert complaints(broken, NEWEST) == []
    target = broken
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert any(path[-1] in wrong for wrong in complaints(broken, NEWEST))


@pytest.mark.parametrize(
    ("manifest", "wrong"),
    [
        ({"kind": "ServiceMonitor", "spec": {"selector": {}, "endpoints": [{"portt": "metrics"}]}}, "portt"),
        ({"kind": "ServiceMonitor", "spec": {"selector": {}, "endpoints": [{"interval": "30 s"}]}}, "30 s"),
        ({"kind": "PrometheusRule", "spec": {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}}, "expr"),
        ({"kind": "PrometheusRule", "spec": {"groups": [{"name": "a", "rules": [], "every": "1m"}]}}, "every"),
    ],
)
def test_what_the_prometheus_operator_does_not_know_is_refused(manifest, wrong):
    whole = {"apiVersion": "monitoring.coreos.com/v1", "metadata": {"name": "a"}, **manifest}
    assert any(wrong in complaint for complaint in complaints(whole, NEWEST))


def test_the_overlays_that_serve_are_there():
    assert {*SERVING, "pipeline"} <= set(OVERLAYS)


def _is_core(manifest):
    return not manifest["apiVersion"].startswith(("serving.kserve.io/", "monitoring.coreos.com/"))
