"""From an overlay and an image to the manifests that a cluster gets."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from k8s.kubectl import Kubectl
from oodtune.errors import UserError

OVERLAYS_DIR = Path(__file__).parent / "overlays"
PLACEHOLDER = "oodtune-serve"
"""The image that the overlays name."""

_NAME = r"(?P<name>[a-z0-9][a-z0-9._-]*(?::[0-9]+)?(?:/[a-z0-9][a-z0-9._-]*)*)"
_BY_DIGEST = re.compile(rf"{_NAME}(?::[\w][\w.-]*)?@(?P<digest>sha256:[0-9a-f]{{64}})")
_BY_TAG = re.compile(rf"{_NAME}:(?P<tag>[\w][\w.-]*)")


def overlay_names() -> list[str]:
    """Return the names of the overlays."""
    return sorted(path.parent.name for path in OVERLAYS_DIR.glob("*/kustomization.yaml"))


def find_overlay(name: str) -> Path:
    """Return the directory of an overlay. Raises UserError if there is none of that name."""
    if name not in overlay_names():
        raise UserError(f"expected an overlay ({', '.join(overlay_names())}), found {name!r}; choose one")
    return OVERLAYS_DIR / name


def parse_image(text: str, allow_tag: bool = False) -> dict[str, str]:
    """Return what kustomize puts in place of PLACEHOLDER. Raises UserError unless `text` has a digest.

    `allow_tag` takes a tag, too. A tag can mean another image tomorrow: replicas of one rollout would differ, and
    going back would go nowhere.
    """
    if found := _BY_DIGEST.fullmatch(text):
        return {"name": PLACEHOLDER, "newName": found["name"], "digest": found["digest"]}
    tagged = _BY_TAG.fullmatch(text)
    if allow_tag and tagged and tagged["tag"] != "latest":
        return {"name": PLACEHOLDER, "newName": tagged["name"], "newTag": tagged["tag"]}
    expected = "NAME:TAG other than latest, or NAME@sha256:DIGEST" if allow_tag else "NAME@sha256: and 64 hex digits"
    raise UserError(
        f"image: expected {expected}, found {text!r}; a tag can mean another image tomorrow, and a rollback would go "
        "nowhere: take the digest that the push printed (--allow-tag is for images loaded into a kind cluster)"
    )


def render(kubectl: Kubectl, overlay: Path, image: dict[str, str] | None = None, namespace: str | None = None) -> str:
    """Return the manifests of `overlay`, with `image` and in `namespace`. Raises UserError if kustomize refuses it."""
    with tempfile.TemporaryDirectory(prefix="oodtune-deploy-") as temporary:
        root = Path(temporary).resolve()  # kustomize takes relative paths only, and resolves links
        over: dict[str, Any] = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(overlay.resolve(), root)],
        }
        if image is not None:
            over["images"] = [image]
        if namespace is not None:
            over["namespace"] = namespace
        (root / "kustomization.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
        result = kubectl.run("kustomize", str(root))
    if result.returncode:
        raise UserError(f"{overlay}: expected an overlay that kustomize renders; it says: {result.stderr.strip()}")
    return result.stdout


def needs_image(kubectl: Kubectl, overlay: Path) -> bool:
    """Return whether a container of `overlay` runs the serve image."""
    return PLACEHOLDER in images_of(list(yaml.safe_load_all(render(kubectl, overlay))))


def images_of(manifest: Any) -> set[str]:
    """Return the images of all containers in a manifest, or in a list of them."""
    return {str(container["image"]) for container in containers_of(manifest) if "image" in container}


def containers_of(manifest: Any) -> Iterator[dict[str, Any]]:
    """Yield every container in a manifest, or in a list of them, whatever its kind."""
    if isinstance(manifest, list):
        for one in manifest:
            yield from containers_of(one)
    elif isinstance(manifest, dict):
        for key, value in manifest.items():
            if key in ("containers", "initContainers") and isinstance(value, list):
                yield from value
            else:
                yield from containers_of(value)
