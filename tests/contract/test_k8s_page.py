"""What docs/deploy.md shows works: its overlay renders, its numbers are those of the manifests."""

import os
import re
from pathlib import Path

import pytest
import yaml

from k8s.kubectl import Kubectl, find_kubectl
from k8s.render import OVERLAYS_DIR, parse_image, render
from tests.fixtures.manifests import DEPLOYMENTS, IMAGE, NEWEST, complaints, find, needs_kubectl

pytestmark = needs_kubectl

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Return kind -> object of the overlay that the page shows, with the patch that it shows."""
    (overlay,) = (block for block in BLOCKS if "configMapGenerator" in block)
    (patch,) = (block for block in BLOCKS if "NetworkPolicy" in block)
    directory = tmp_path_factory.mktemp("birds").resolve()
    body = {**yaml.safe_load(overlay), "patches": yaml.safe_load(patch)}
    assert body["resources"] == ["../cpu"]
    body["resources"] = [os.path.relpath(OVERLAYS_DIR / "cpu", directory)]
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(body))
    manifests = render(Kubectl(find_kubectl()), directory, parse_image(IMAGE), "birds")
    return {one["kind"]: one for one in yaml.safe_load_all(manifests)}


def test_the_overlay_of_the_page_is_one_that_a_cluster_takes(objects):
    assert {kind: wrong for kind, one in objects.items() if (wrong := complaints(one, NEWEST))} == {}


def test_settings_of_an_own_overlay_come_beside_those_of_the_base_and_make_a_rollout(objects):
    base, own = find("cpu", "ConfigMap"), objects["ConfigMap"]
    assert own["data"] == base["data"] | {
        "OODTUNE_BUNDLE": "s3://models/birds",
        "OODTUNE_ENDPOINT_URL": "https://s3.example.com",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    assert own["metadata"]["name"] != base["metadata"]["name"]
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": own["metadata"]["name"]}}]


def test_the_patch_of_the_page_opens_the_network_as_it_says(objects):
    policy = objects["NetworkPolicy"]["spec"]
    names = {"kubernetes.io/metadata.name": "ingress"}
    assert {"namespaceSelector": {"matchLabels": names}} in policy["ingress"][0]["from"]
    assert {"ports": [{"protocol": "TCP", "port": 9000}]} in policy["egress"]


def test_the_table_of_overlays_names_each():
    table = PAGE.split("| overlay |")[1].split("\n\n")[0]
    rows = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    assert rows == {path.parent.name for path in OVERLAYS_DIR.glob("*/kustomization.yaml")} | {"monitoring"}


@pytest.mark.parametrize("overlay", [*DEPLOYMENTS, "kserve"])
def test_the_table_of_autoscaling_has_the_numbers_of_the_manifests(overlay):
    table = PAGE.split("## Autoscaling\n\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    column = rows[0].index(f"`{overlay}`")
    by, replicas = (row[column] for row in rows[2:4])
    if overlay == "kserve":
        spec = find(overlay, "InferenceService")["spec"]["predictor"]
        target = spec["scaleTarget"]
    else:
        spec = find(overlay, "HorizontalPodAutoscaler")["spec"]
        (metric,) = spec["metrics"]
        found = metric.get("resource", metric.get("pods"))["target"]
        target = found.get("averageUtilization", found.get("averageValue"))
    assert re.findall(r"\d+", replicas) == [str(spec["minReplicas"]), str(spec["maxReplicas"])]
    assert re.findall(r"\d+", by) == [str(target)]
