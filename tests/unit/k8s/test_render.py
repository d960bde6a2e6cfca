"""Facts of images and overlays, before a cluster is asked."""

import pytest

from k8s.kubectl import Kubectl
from k8s.render import OVERLAYS_DIR, find_overlay, images_of, parse_image, render
from oodtune.errors import ClusterError, UserError
from tests.fixtures.manifests import IMAGE, needs_kubectl

DIGEST = IMAGE.partition("@")[2]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (IMAGE, "registry.example.com/oodtune-serve"),
        (f"localhost:5000/a/b@{DIGEST}", "localhost:5000/a/b"),
        (f"registry.example.com:443/oodtune-serve:1.2@{DIGEST}", "registry.example.com:443/oodtune-serve"),
    ],
)
def test_an_image_by_digest_is_taken_and_its_tag_is_of_no_account(text, name):
    assert parse_image(text) == {"name": "oodtune-serve", "newName": name, "digest": DIGEST}


@pytest.mark.parametrize(
    "text", ["oodtune-serve", "oodtune-serve:1.2", "oodtune-serve@sha256:abc", IMAGE[:-1], f"{IMAGE} ", f"@{DIGEST}"]
)
def test_an_image_without_a_whole_digest_is_refused_and_the_error_says_why(text):
    with pytest.raises(UserError, match=r"expected NAME@sha256: and 64 hex digits, found .*a tag can mean another"):
        parse_image(text)


def test_a_tag_is_taken_where_it_is_allowed_but_never_latest():
    expected = {"name": "oodtune-serve", "newName": "localhost:5000/oodtune-serve", "newTag": "dev-1"}
    assert parse_image("localhost:5000/oodtune-serve:dev-1", allow_tag=True) == expected
    for text in ("oodtune-serve", "oodtune-serve:latest"):
        with pytest.raises(UserError, match="other than latest"):
            parse_image(text, allow_tag=True)


def test_images_are_found_in_any_kind_of_object():
    manifest = {"spec": {"predictor": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}, {}]}}}
    assert images_of([manifest, {"kind": "Service"}]) == {"a", "b"}


@pytest.mark.parametrize("name", ["../base", "", "tpu", "."])
def test_only_directories_of_overlays_are_overlays(name):
    with pytest.raises(UserError, match="expected an overlay"):
        find_overlay(name)


@needs_kubectl
def test_an_overlay_that_kustomize_refuses_is_an_error_with_its_words(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n")
    with pytest.raises(UserError, match=r"(?s)expected an overlay that kustomize renders; it says: .*missing\.yaml"):
        render(Kubectl("kubectl"), tmp_path)


@needs_kubectl
def test_rendering_writes_nothing_beside_the_overlay():
    before = sorted(OVERLAYS_DIR.rglob("*"))
    render(Kubectl("kubectl"), OVERLAYS_DIR / "cpu", parse_image(IMAGE), "birds")
    assert sorted(OVERLAYS_DIR.rglob("*")) == before


def test_a_kubectl_that_hangs_is_ended(tmp_path):
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(ClusterError, match=r"kubectl apply: expected an end within 1 s"):
        Kubectl(str(program)).run("apply", timeout_s=1)
