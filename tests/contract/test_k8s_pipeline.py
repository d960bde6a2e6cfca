"""What overlay pipeline makes is what docs/kubeflow.md and docs/deploy.md say, and what pipelines ask for."""

import re
from pathlib import Path

import pytest
import yaml

from oodtune.config.resources import ResourcesConfig
from pipelines.resources import S3_SECRET_KEYS
from tests.fixtures.manifests import find, manifests, needs_kubectl

pytestmark = needs_kubectl

DOCS = Path(__file__).parents[2] / "docs"
GRANT = re.compile(r"((?:`[a-z/]+`(?:,? and )?)+) ((?:(?:get|list|create|update|delete)(?:, )?)+)")


def granted(kind):
    """Return resource -> verbs of a role."""
    rules = find("pipeline", kind)["rules"]
    resources = [resource for rule in rules for resource in rule["resources"]]
    assert len(set(resources)) == len(resources)
    return {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}


def documented():
    """Return resource -> verbs, as docs/kubeflow.md says what the service account needs."""
    text = (DOCS / "kubeflow.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"The service account needs, .*?\n\n", text, flags=re.DOTALL)
    found = {}
    for names, verbs in GRANT.findall(" ".join(paragraph.split())):
        for name in re.findall(r"`([a-z/]+)`", names):
            found.setdefault(name, set()).update(re.findall("[a-z]+", verbs))
    return found


def resources_of_the_page():
    """Return the section `resources` of params.yaml that docs/deploy.md proposes."""
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)]
    (section,) = (one["resources"] for one in blocks if isinstance(one, dict) and one.keys() == {"resources"})
    return section


def test_the_roles_grant_exactly_what_the_page_names():
    assert granted("Role") | granted("ClusterRole") == documented()
    assert granted("ClusterRole").keys() == {"clustertrainingruntimes"}


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_each_role_is_bound_to_the_account_of_the_runs(kind):
    binding = find("pipeline", f"{kind}Binding")
    account = find("pipeline", "ServiceAccount")["metadata"]
    assert binding["roleRef"]["name"] == find("pipeline", kind)["metadata"]["name"]
    expected = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    assert binding["subjects"] == [expected]


def test_the_volume_is_one_that_pods_of_several_nodes_write():
    assert find("pipeline", "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_settings_of_the_page_name_what_the_overlay_makes():
    settings = ResourcesConfig.model_validate(resources_of_the_page())
    assert settings.volume is not None
    assert settings.volume.claim == find("pipeline", "PersistentVolumeClaim")["metadata"]["name"]
    assert settings.service_account == find("pipeline", "ServiceAccount")["metadata"]["name"]
    assert settings.s3_secret_keys is None  # the secret's keys are those that pipelines take by default


def test_the_secrets_of_the_page_have_the_keys_that_pods_take():
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(oodtune-[a-z0-9-]+)` \| (.*?) \|", text, flags=re.MULTILINE)
    shape = {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in rows}
    pod = find("cpu", "Deployment")["spec"]["template"]["spec"]["containers"][0]
    references = [one["valueFrom"]["secretKeyRef"] for one in pod["env"] if "valueFrom" in one]
    for reference in references:
        assert reference["key"] in shape[reference["name"]]
    assert set(S3_SECRET_KEYS) <= shape[resources_of_the_page()["s3_secret"]]
    for secret in find("kserve", "ServiceAccount")["secrets"]:
        assert set(S3_SECRET_KEYS) <= shape[secret["name"]]


def test_everything_but_what_belongs_to_the_cluster_is_in_one_namespace():
    name = find("pipeline", "Namespace")["metadata"]["name"]
    for one in manifests("pipeline"):
        if one["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
            assert one["metadata"]["namespace"] == name
