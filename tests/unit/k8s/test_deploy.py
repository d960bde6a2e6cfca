"""Facts of `python -m k8s.deploy`. kustomize is real; what a cluster would answer is scripted (see fake_cluster)."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from k8s import deploy as module
from k8s.deploy import deploy, summarize_diff
from oodtune.errors import ClusterError, UserError
from tests.fixtures.manifests import IMAGE, needs_kubectl
from tests.unit.k8s.fake_cluster import make_fake_kubectl

pytestmark = needs_kubectl

DIFF = """\
diff -u -N /tmp/LIVE-1/apps.v1.Deployment.birds.oodtune /tmp/MERGED-2/apps.v1.Deployment.birds.oodtune
--- /tmp/LIVE-1/apps.v1.Deployment.birds.oodtune
+++ /tmp/MERGED-2/apps.v1.Deployment.birds.oodtune
@@ -10,7 +10,8 @@
-        image: a
+        image: b
+        tty: false
diff -u -N /tmp/LIVE-1/v1.Service.birds.oodtune /tmp/MERGED-2/v1.Service.birds.oodtune
--- /tmp/LIVE-1/v1.Service.birds.oodtune
+++ /tmp/MERGED-2/v1.Service.birds.oodtune
@@ -0,0 +1,2 @@
+apiVersion: v1
+kind: Service
"""
POD = {
    "metadata": {"name": "oodtune-5d9c-x"},
    "status": {
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "serve",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"reason": "Error", "message": "error: s3://birds: no such\nbucket"}},
            }
        ],
    },
}
READY = {
    "metadata": {"name": "oodtune-77aa-y"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": []},
}
UNSCHEDULED = {
    "metadata": {"name": "oodtune-5d9c-z"},
    "status": {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}]
    },
}
REFUSED = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "A", "message": "quota"}]}}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fake = make_fake_kubectl(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return fake


def run(*args, **environ):
    command = [sys.executable, "-m", "k8s.deploy", *args]
    result = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


def test_a_deploy_compares_applies_and_waits(cluster, capfd):
    cluster.answer("diff", DIFF, rc=1)
    cluster.answer("apply", "deployment.apps/oodtune serverside-applied\n")
    cluster.answer("rollout", 'deployment "oodtune" successfully rolled out\n')
    deploy("cpu", IMAGE, namespace="birds", context="prod")
    verbs = [command.split()[0] for command in cluster.commands()]
    assert verbs == ["get", "diff", "apply", "rollout"]
    for command in cluster.commands():
        assert "--context=prod --namespace=birds" in command
        assert "--request-timeout=" in command
    assert all("--server-side" in command for command in cluster.commands()[1:3])
    printed = capfd.readouterr().out.splitlines()
    assert printed[:3] == [
        "changed: apps.v1.Deployment.birds.oodtune (+2 -1 lines)",
        "new: v1.Service.birds.oodtune",
        "deployment.apps/oodtune serverside-applied",
    ]
    assert printed[-1] == 'deployment "oodtune" successfully rolled out'


def test_what_is_applied_has_the_image_and_the_namespace_that_were_asked_for(cluster):
    deploy("cpu", IMAGE, namespace="birds")
    objects = list(yaml.safe_load_all(cluster.applied))
    assert {one["metadata"]["namespace"] for one in objects} == {"birds"}
    (pod,) = (one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment")
    assert [container["image"] for container in pod["containers"]] == [IMAGE]


def test_a_failed_rollout_says_why_and_how_to_go_back(cluster, capfd):
    cluster.answer("rollout", stderr='error: deployment "oodtune" exceeded its progress deadline\n', rc=1)
    cluster.answer("pods", json.dumps({"items": [POD, READY, UNSCHEDULED]}))
    cluster.answer("deployment", json.dumps(REFUSED))
    with pytest.raises(SystemExit) as ended:
        deploy("cpu", IMAGE, namespace="birds", context="prod")
    assert ended.value.code == 1
    told = capfd.readouterr().err.splitlines()
    assert told[0].endswith('not ready: error: deployment "oodtune" exceeded its progress deadline')
    assert told[1:-1] == [
        "  deployment: A: quota",
        "  pod oodtune-5d9c-x: serve: CrashLoopBackOff: back-off 40s",
        "  pod oodtune-5d9c-x: serve: Error: error: s3://birds: no such bucket",
        "  pod oodtune-5d9c-z: not scheduled: 0/3 nodes: Insufficient nvidia.com/gpu",
    ]
    assert told[-1].endswith("kubectl rollout undo deployment/oodtune --context=prod --namespace=birds")
    selector = "--selector=app.kubernetes.io/component=endpoint,app.kubernetes.io/name=oodtune"
    assert any(f"get pods {selector}" in command for command in cluster.commands())


def test_a_failed_rollout_is_told_also_where_pods_cannot_be_read(cluster, capfd):
    cluster.answer("rollout", stderr="error: timed out waiting for the condition\n", rc=1)
    cluster.answer("pods", stderr="pods is forbidden", rc=1)
    cluster.answer("deployment", stderr="forbidden", rc=1)
    with pytest.raises(SystemExit):
        deploy("cpu", IMAGE)
    assert len(capfd.readouterr().err.splitlines()) == 2


def test_what_the_cluster_refuses_is_an_error_and_nothing_is_awaited(cluster):
    cluster.answer("apply", stderr='namespaces "birds" not found', rc=1)
    with pytest.raises(ClusterError, match='answered: namespaces "birds" not found'):
        deploy("cpu", IMAGE, namespace="birds")
    assert "rollout" not in [command.split()[0] for command in cluster.commands()]


def test_a_comparison_that_fails_keeps_nothing_from_being_applied(cluster, capfd):
    cluster.answer("diff", stderr='Error from server (NotFound): namespaces "oodtune" not found\n', rc=2)
    deploy("pipeline")
    assert 'no comparison with the cluster: Error from server (NotFound): namespaces "oodtune" not found' in (
        capfd.readouterr().out
    )
    assert "kind: PersistentVolumeClaim" in cluster.applied


def test_the_kserve_overlay_says_how_to_follow_its_service(cluster, capfd):
    deploy("kserve", IMAGE, namespace="birds")
    assert "kubectl get inferenceservice birds --watch --namespace=birds" in capfd.readouterr().out


def test_a_dry_run_prints_what_would_be_applied_and_asks_no_cluster(cluster, capfd):
    deploy("cpu", IMAGE, namespace="birds", dry_run=True)
    printed = capfd.readouterr().out
    assert cluster.commands() == []
    deploy("cpu", IMAGE, namespace="birds")
    assert printed == cluster.applied


@pytest.mark.parametrize(
    ("overlay", "image", "expected"),
    [
        ("cpu", None, r"overlay cpu runs the serve image, found none; add --image"),
        ("pipeline", IMAGE, r"overlay pipeline runs no image of ours"),
        ("tpu", IMAGE, r"expected an overlay \(cpu, gpu, kserve, .*pipeline\), found 'tpu'"),
        ("cpu", "registry.example.com/oodtune-serve:1.2", r"a tag can mean another image tomorrow"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_cluster_is_asked(cluster, overlay, image, expected):
    with pytest.raises(UserError, match=expected):
        deploy(overlay, image)
    assert not (cluster.answers / "log").exists() or cluster.commands() == []


def test_nothing_that_changes_is_said_to_be_so(cluster, capfd):
    deploy("cpu", IMAGE)
    assert "nothing changes" in capfd.readouterr().out
    assert summarize_diff("") == []


def test_a_cluster_that_does_not_answer_is_one_line_and_exit_code_2(tmp_path):
    config = tmp_path / "kubeconfig"
    clusters = [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}]
    contexts = [{"name": "none", "context": {"cluster": "none", "user": ""}}]
    config.write_text(yaml.safe_dump({"clusters": clusters, "contexts": contexts, "current-context": "none"}))
    code, _, told = run("--overlay", "cpu", "--image", IMAGE, KUBECONFIG=str(config))
    assert code == 2
    assert told.startswith("error: expected the cluster of the current context to answer, found none: ")
    assert "127.0.0.1:9" in told
    assert told.count("\n") == 1


def test_a_context_that_is_not_there_is_named(tmp_path):
    code, _, told = run("--overlay", "cpu", "--image", IMAGE, "--context", "elsewhere", KUBECONFIG=str(tmp_path / "no"))
    assert code == 2
    assert "expected the cluster of context elsewhere to answer" in told


def test_without_kubectl_anywhere_the_error_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "argv", ["deploy", "--overlay", "cpu", "--image", IMAGE])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert "expected kubectl on PATH, found none; install it" in capsys.readouterr().err
