"""Apply an overlay of k8s/overlays to a cluster, with its image by digest, and wait until the replicas are ready.

python -m k8s.deploy --overlay cpu --image registry.example.com/oodtune-serve@sha256:...
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from k8s.kubectl import Kubectl, find_kubectl
from k8s.render import OVERLAYS_DIR, find_overlay, needs_image, parse_image, render
from oodtune.errors import ClusterError, UserError

FIELD_MANAGER = "--field-manager=oodtune-deploy"
Object = dict[str, Any]


def deploy(
    overlay: Annotated[str, typer.Option(help=f"A directory of {OVERLAYS_DIR.name}/, such as cpu or gpu.")],
    image: Annotated[str | None, typer.Option(help="The serve image: NAME@sha256:DIGEST.")] = None,
    namespace: Annotated[str | None, typer.Option(help="By default the overlay's, or else the context's.")] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig; by default its current one.")] = None,
    allow_tag: Annotated[bool, typer.Option("--allow-tag", help="Take NAME:TAG, for a kind cluster.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests; ask no cluster.")] = False,
    timeout_s: Annotated[int, typer.Option(min=1, help="How long to wait for the replicas.")] = 1500,
) -> None:
    """Apply an overlay and wait until its replicas are ready; if they are not, say why and how to go back."""
    kubectl = Kubectl(find_kubectl(), context, namespace)
    directory = find_overlay(overlay)
    wanted = parse_image(image, allow_tag) if image else None
    _check_image(overlay, needs_image(kubectl, directory), image)
    manifests = render(kubectl, directory, wanted, namespace)
    if dry_run:
        print(manifests, end="")
        return
    kubectl.check_cluster()
    objects = [one for one in yaml.safe_load_all(manifests) if one]
    _show_changes(kubectl, manifests)
    _apply(kubectl, manifests)
    for one in objects:
        if one["kind"] == "Deployment":
            _await_rollout(kubectl, one, timeout_s)
        if one["kind"] == "InferenceService":  # its status may still be that of the version before
            name = one["metadata"]["name"]
            print(f"KServe starts {name}; follow it: {kubectl.line('get', 'inferenceservice', name, '--watch')}")


def _check_image(overlay: str, needed: bool, image: str | None) -> None:
    if needed and not image:
        raise UserError(f"overlay {overlay} runs the serve image, found none; add --image NAME@sha256:DIGEST")
    if image and not needed:
        raise UserError(f"overlay {overlay} runs no image of ours, found --image {image}; leave it out")


def _show_changes(kubectl: Kubectl, manifests: str) -> None:
    """Print which objects an apply would create or change, and by how many lines."""
    result = kubectl.run("diff", "--server-side", FIELD_MANAGER, "-f", "-", stdin=manifests)
    if result.returncode > 1:  # as for objects of a namespace that is yet to be made; an apply says what is wrong
        print(f"no comparison with the cluster: {_last_line(result.stderr)}")
        return
    changes = summarize_diff(result.stdout)
    print("\n".join(changes) if changes else "the cluster has it already: nothing changes")


def summarize_diff(diff: str) -> list[str]:
    """Return a line for each object in the output of `kubectl diff`."""
    lines: list[str] = []
    for part in diff.split("\ndiff ") if diff else []:
        head, *body = part.splitlines()
        added = sum(line.startswith("+") and not line.startswith("+++ ") for line in body)
        removed = sum(line.startswith("-") and not line.startswith("--- ") for line in body)
        is_new = any(line.startswith("@@ -0,0 ") for line in body)
        name = Path(head.split()[-1]).name
        lines.append(f"new: {name}" if is_new else f"changed: {name} (+{added} -{removed} lines)")
    return lines


def _apply(kubectl: Kubectl, manifests: str) -> None:
    result = kubectl.run("apply", "--server-side", FIELD_MANAGER, "-f", "-", stdin=manifests)
    print(result.stdout, end="")
    if result.returncode:
        raise ClusterError(f"expected the cluster to take the manifests; it answered: {result.stderr.strip()}")


def _await_rollout(kubectl: Kubectl, deployment: Object, timeout_s: int) -> None:
    """Return when all replicas are new and ready; else print why they are not, and exit with 1."""
    name = deployment["metadata"]["name"]
    target = kubectl.inside(deployment["metadata"].get("namespace"))
    print(f"waiting for the replicas of {name}, {timeout_s} s at most", flush=True)
    limit = f"--timeout={timeout_s}s"
    result = target.run(
        "rollout", "status", f"deployment/{name}", limit, timeout_s=timeout_s + 30, request_s=0, live=True
    )
    if result.returncode == 0:
        return
    print(f"error: the replicas of {name} are not ready: {_last_line(result.stderr)}", file=sys.stderr)
    for reason in find_reasons(target, deployment):
        print(f"  {reason}", file=sys.stderr)
    undo = target.line("rollout", "undo", f"deployment/{name}")
    print(f"replicas of the version before still answer, if there was one; to go back: {undo}", file=sys.stderr)
    sys.exit(1)


def find_reasons(kubectl: Kubectl, deployment: Object) -> list[str]:
    """Return why pods of `deployment` are not ready, or are not made."""
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    found = _get(kubectl, "deployment", deployment["metadata"]["name"])
    refused = [
        f"deployment: {one.get('reason')}: {one.get('message')}"
        for one in found.get("status", {}).get("conditions", [])
        if (one["type"], one["status"]) == ("ReplicaFailure", "True")
    ]
    pods = _get(kubectl, "pods", f"--selector={selector}").get("items", [])
    return refused + [f"pod {pod['metadata']['name']}: {reason}" for pod in pods for reason in _complaints(pod)]


def _complaints(pod: Object) -> list[str]:
    """Return what a pod's status says against it; nothing of one that is ready."""
    status = pod.get("status", {})
    conditions = status.get("conditions", [])
    if any((one["type"], one["status"]) == ("Ready", "True") for one in conditions):
        return []
    reasons = [
        f"not scheduled: {one.get('message')}"
        for one in conditions
        if (one["type"], one["status"]) == ("PodScheduled", "False")
    ]
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        states = {**container.get("state", {}), "before": container.get("lastState", {}).get("terminated")}
        reasons += [
            ": ".join(str(part) for part in (container["name"], state.get("reason"), state.get("message")) if part)
            for key, state in states.items()
            if key in ("waiting", "terminated", "before") and state
        ]
    return [" ".join(reason.split()) for reason in reasons] or ["runs, and is not ready"]


def _get(kubectl: Kubectl, *args: str) -> Object:
    """Return what the cluster has; advice only, so that nothing is found where it does not answer."""
    result = kubectl.run("get", *args, "--output=json")
    found: Object = json.loads(result.stdout) if result.returncode == 0 else {}
    return found


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"


def main() -> None:
    try:
        typer.run(deploy)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
