from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oodtune.errors import RegistryError
from oodtune.registry.ledger import claim_version
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.production import promote, read_production, rollback
from tests.fixtures.s3 import S3
from tests.unit.registry.small_bundles import publish_new

pytestmark = pytest.mark.xdist_group("s3")


def history(objects: Objects) -> list[tuple[int, str, str]]:
    return [(move.sequence, move.action, move.version) for move in read_production(objects).history]


def test_rollbacks_lead_back_through_the_promotions(objects: Objects, tmp_path: Path) -> None:
    one, two, three = publish_new(objects, tmp_path, range(3))
    for version in (one, two, three):
        assert promote(objects, version) == version
    assert rollback(objects) == two
    assert promote(objects, three) == three
    assert rollback(objects) == two
    assert rollback(objects) == one
    assert read_production(objects).version == one
    assert history(objects) == [
        (1, "promote", one),
        (2, "promote", two),
        (3, "promote", three),
        (4, "rollback", two),
        (5, "promote", three),
        (6, "rollback", two),
        (7, "rollback", one),
    ]
    with pytest.raises(
        RegistryError, match=f"expected a version before the current one to go back to, found only {one}"
    ):
        rollback(objects)


def test_promoting_what_is_in_production_changes_nothing(objects: Objects, tmp_path: Path) -> None:
    (version,) = publish_new(objects, tmp_path, range(1))
    assert promote(objects, "1") == promote(objects, "000001") == promote(objects, version) == version
    assert history(objects) == [(1, "promote", version)]


def test_promoters_at_once_are_all_in_the_history(objects: Objects, s3: S3, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(4))
    clients = [open_objects(objects.place, s3.endpoint_url) for _ in versions]
    with ThreadPoolExecutor(len(versions)) as pool:
        list(pool.map(promote, clients, versions))
    moves = history(objects)
    assert [sequence for sequence, _, _ in moves] == [1, 2, 3, 4]
    assert sorted(version for _, _, version in moves) == versions
    assert read_production(objects).version == moves[-1][2]


def interfere(objects: Objects, s3: S3, act: str) -> Objects:
    """Return a client in front of whose next write of the pointer another one acts: "rollback", or promotes that."""
    ours, other = open_objects(objects.place, s3.endpoint_url), open_objects(objects.place, s3.endpoint_url)
    acted: list[bool] = []

    def before(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("production.json") and not acted:
            acted.append(True)
            rollback(other) if act == "rollback" else promote(other, act)

    ours.client.meta.events.register("provide-client-params.s3.PutObject", before)
    return ours


def test_a_promotion_that_is_overtaken_comes_after_the_other(objects: Objects, s3: S3, tmp_path: Path) -> None:
    one, two = publish_new(objects, tmp_path, range(2))
    promote(interfere(objects, s3, one), two)
    assert history(objects) == [(1, "promote", one), (2, "promote", two)]


def test_two_rollbacks_at_once_go_back_once(objects: Objects, s3: S3, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(3))
    for version in versions:
        promote(objects, version)
    assert rollback(interfere(objects, s3, "rollback")) == versions[1]
    assert history(objects)[3:] == [(4, "rollback", versions[1])]


def test_a_rollback_does_not_undo_a_promotion_it_has_not_seen(objects: Objects, s3: S3, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(3))
    for version in versions[:2]:
        promote(objects, version)
    with pytest.raises(RegistryError, match=f"expected {versions[1]} in production still, found {versions[2]}"):
        rollback(interfere(objects, s3, versions[2]))
    assert read_production(objects).version == versions[2]


def test_a_version_that_is_not_finished_is_not_promoted(objects: Objects, tmp_path: Path) -> None:
    (finished,) = publish_new(objects, tmp_path, range(1))
    begun = claim_version(objects, "0" * 64)
    with pytest.raises(RegistryError, match=f"expected a version, found no '{begun}'; there are {finished}"):
        promote(objects, begun)


def test_nothing_can_be_rolled_back_before_a_promotion(objects: Objects) -> None:
    with pytest.raises(RegistryError, match="to go back to, found none in production; promote the version"):
        rollback(objects)


def test_a_pointer_that_is_none_is_refused(objects: Objects) -> None:
    objects.write("production.json", b"[]", None)
    with pytest.raises(RegistryError, match=r"production\.json: expected what is in production"):
        read_production(objects)
