"""What happens, in order: data, sweep, registry, endpoint, drift, retraining, promotion; and what is killed."""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from k8s.monitoring_demo.images import read_streams
from k8s.monitoring_demo.prometheus import Prometheus, running_prometheus
from oodtune.artifact import open_artifact
from oodtune.registry.ledger import list_finished
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.production import read_production
from oodtune.registry.pull import fetch_bundle
from tests.fixtures.prometheus import free_port
from tests.fixtures.s3 import BIN, BUCKET, S3Server
from tests.system.chaos import Chaos, Command, Place
from tests.system.endpoint import Endpoint, Traffic
from tests.system.kubeflow import REGISTRY, Kubeflow, path_in
from tests.system.ledger import BrokenError, Ledger
from tests.system.repository import NEW, Repository

ALERT_WAIT_S = 1
"""Alerts wait for minutes in production."""
DRIFT = 'ALERTS{alertname="OodtuneDrift",alertstate="firing"}'
PSI = "max(oodtune_drift_psi)"
PER_SECOND = 30.0
IN_PASSING = 5.0
"""Requests a second while other things happen on the same cores."""


@dataclass(eq=False)
class World:
    """Everything that runs, and where it is."""

    work: Path
    store: S3Server
    repository: Repository
    kubeflow: Kubeflow
    ledger: Ledger
    chaos: Chaos
    client: Any
    """Of S3."""

    @classmethod
    def create(cls, work: Path, seed: int, num_kills: int) -> "World":
        (work / "s3").mkdir(parents=True)
        store, ledger = S3Server(work / "s3"), Ledger()
        environment = {**store.s3.environment, "DVC_NO_ANALYTICS": "1", "NO_COLOR": "1"}
        logs = work / "logs"
        place = Place(work / "project", environment, logs)
        place.directory.mkdir()
        repository = Repository(Place(work / "repository", environment, logs))
        kubeflow = Kubeflow(place, repository.path, store.s3.endpoint_url)
        chaos = Chaos(ledger, random.Random(seed), num_kills)
        return cls(work, store, repository, kubeflow, ledger, chaos, store.s3.client())

    @property
    def place(self) -> Place:
        return self.kubeflow.place

    def registry(self) -> Objects:
        return open_objects(parse_address(f"{REGISTRY}/model")[0], self.store.s3.endpoint_url)

    def num_objects(self, prefix: str) -> int:
        """Return how many objects are in the bucket; the first 1,000 count."""
        return int(self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["KeyCount"])

    def production(self) -> str | None:
        return read_production(self.registry()).version


def tell(world: World) -> None:
    """Go through everything. Raises BrokenError at the first thing that does not survive or does not happen."""
    with ExitStack() as stack:
        stack.enter_context(world.store.s3.use_here())
        stack.callback(world.store.kill)
        world.store.start()
        version_data(world)
        bundle = sweep(world)
        publish(world, bundle)
        endpoint = stack.enter_context(Endpoint(world.place, world.store.s3.endpoint_url).running())
        (world.work / "prometheus").mkdir()
        prometheus = stack.enter_context(
            running_prometheus(f"127.0.0.1:{endpoint.port}", free_port(), world.work / "prometheus", ALERT_WAIT_S)
        )
        known = watch(world, endpoint, prometheus, bundle)
        lose_servers(world, endpoint, known)
        retrain(world, endpoint, known)
        settle(world, endpoint, prometheus)


def version_data(world: World) -> None:
    """Images under DVC, pushed to S3."""
    world.ledger.begin("data v1: dvc push")
    world.repository.create(world.store.s3.endpoint_url, world.work / "drawn")
    world.chaos.run(world.repository.push, world.chaos.after_objects(partial(world.num_objects, "store/"), 200))
    world.ledger.expect(world.repository.is_pushed(), "every object of the revision is on S3")
    world.ledger.survived("the next push completed the revision")


def sweep(world: World) -> Path:
    """The sweep pipeline; return its bundle."""
    ledger, kubeflow = world.ledger, world.kubeflow
    ledger.begin("sweep: Kubeflow, local")
    kept: dict[Path, int] = {}

    def look() -> None:
        kept.update(kubeflow.finished())
        ledger.say(f"   finished artifacts so far: {len(kept)}")

    ended = world.chaos.run(
        lambda: kubeflow.start("sweep", "v1"), world.chaos.after_lines(": started", 9, 3.0), between=look
    )
    found = kubeflow.finished()
    redone = [str(path) for path, written in kept.items() if found.get(path) != written]
    ledger.expect(not redone, "nothing that was finished was made again", redone or f"{len(kept)} kept")
    ledger.expect(len(kubeflow.trials()) == 2, "both trials are whole, by their hashes")
    by_hand(world)
    bundle = path_in(ended.lines(), "bundle")
    if bundle is None:
        raise BrokenError(f"the gate refused the first model: {ended.log}")
    open_artifact(bundle, "bundle")
    ledger.survived("finished artifacts were kept, the trial has the bytes of an undisturbed one")
    return bundle


def by_hand(world: World) -> None:
    """Train one of the trials again, undisturbed, and compare every byte."""
    shared = world.kubeflow.outputs / "shared"
    (made,) = (one for one in world.kubeflow.trials() if "large_dropout" in one.path.name)
    (cache,), (init,) = (list((shared / kind).glob("*/manifest.json")) for kind in ("cache", "init"))
    trial = made.details["trial"]
    chosen = [word for key, value in trial.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    inputs = ["--cache", cache.parent, "--init", init.parent, "--params", world.place.directory / "params.yaml"]
    Command.start(world.place, [BIN / "oodtune", "train", *inputs, *chosen, "--out", "by_hand"]).finish()
    again = open_artifact(world.place.directory / "by_hand", "trial")
    same = [name for name in made.manifest.files if (made.path / name).read_bytes() == (again.path / name).read_bytes()]
    world.ledger.expect(
        len(same) == len(made.manifest.files), "a trial has the bytes of an undisturbed one", made.path.name
    )


def publish(world: World, bundle: Path) -> None:
    """The first version, into production."""
    ledger = world.ledger
    ledger.begin("publish and promote")
    words = ["publish", bundle, "--registry", f"{REGISTRY}/model", "--endpoint-url", world.store.s3.endpoint_url]
    world.chaos.run(
        lambda: Command.start(world.place, [BIN / "oodtune", *words, "--promote"]),
        world.chaos.after_objects(partial(world.num_objects, "models/"), 8),
    )
    versions = list(list_finished(world.registry()))
    ledger.expect(len(versions) == 1, "one version is in the registry", versions)
    ledger.expect(world.production() == versions[0], "it is in production")
    pulled = fetch_bundle(f"{REGISTRY}/model", world.work / "pulled", world.store.s3.endpoint_url)
    ledger.expect(open_artifact(pulled, "bundle").digest == open_artifact(bundle, "bundle").digest, "it is the bundle")
    ledger.survived("one version, whole, in production")


def watch(world: World, endpoint: Endpoint, prometheus: Prometheus, bundle: Path) -> Sequence[bytes]:
    """Images of the training domains, then of a domain that nobody had seen. Return the first."""
    ledger = world.ledger
    ledger.begin("serve and watch")
    known = read_streams(None, None, world.kubeflow.newest_dataset(), bundle).in_domain
    drifted = tuple(path.read_bytes() for path in sorted((world.work / "drawn" / NEW).rglob("*.png")))
    with Traffic(endpoint.url, known, PER_SECOND).flowing() as traffic:
        traffic.send(6 * len(known))
    time.sleep(3)
    ledger.expect(not traffic.failed, "every request was answered", f"{len(traffic.answers)} of the training domains")
    ledger.expect(not prometheus.query(DRIFT), "no drift alert", f"PSI {prometheus.value(PSI):.2f}")
    with Traffic(endpoint.url, drifted, PER_SECOND).flowing() as traffic:
        _await(lambda: bool(prometheus.query(DRIFT)), "the drift alert")
    ledger.expect(not traffic.failed, "every request was answered", f"{len(traffic.answers)} of the new domain")
    ledger.expect(True, "the drift alert fires", f"PSI {prometheus.value(PSI):.2f}")
    return known


def lose_servers(world: World, endpoint: Endpoint, known: Sequence[bytes]) -> None:
    """The endpoint is killed under clients that ask again; the registry is killed under the endpoint."""
    ledger, production = world.ledger, world.production()
    ledger.begin("the endpoint is killed")
    with Traffic(endpoint.url, known, IN_PASSING, retry_for_s=30).flowing() as traffic:
        for _ in range(world.chaos.num_kills):
            traffic.send(world.chaos.chance.randint(3, 15))
            ledger.note_kill("oodtune serve", endpoint.kill(), "clients ask 5 times a second")
            endpoint.await_ready()
        traffic.send(10)
    ledger.expect(not traffic.failed, "clients that ask again got all answers", f"{traffic.tried_again} asked again")
    ledger.expect(traffic.versions() == [production], "all are of the version in production")
    ledger.survived("every answer, of the same version")
    ledger.begin("the registry is killed")
    with Traffic(endpoint.url, known, IN_PASSING).flowing() as traffic:
        begun_s = time.monotonic()
        traffic.send(world.chaos.chance.randint(3, 10))
        world.store.kill()
        ledger.note_kill("the S3 service", time.monotonic() - begun_s, "the endpoint asks it every second")
        traffic.send(25)
        world.store.start()
        traffic.send(15)
    ledger.expect(not traffic.failed, "every request was answered without it", len(traffic.answers))
    ledger.expect(world.production() == production, "production is what it was")
    ledger.survived("every answer; the registry has what it had")


def retrain(world: World, endpoint: Endpoint, known: Sequence[bytes]) -> None:
    """The new domain as a revision, a gate that refuses, then one that lets the new model in, under traffic."""
    ledger, chaos, kubeflow = world.ledger, world.chaos, world.kubeflow
    before = world.production()
    with Traffic(endpoint.url, known, IN_PASSING).flowing() as traffic:
        ledger.begin("data v2: dvc push")
        world.repository.add_domain(world.work / "drawn")
        chaos.run(world.repository.push, chaos.after_objects(partial(world.num_objects, "store/"), 60))
        ledger.expect(world.repository.is_pushed(), "every object of both revisions is on S3")
        ledger.survived("the next push completed the revision")
        ledger.begin("retrain, refused")
        high = {"publish": kubeflow.publishing(), "promote": {"min_gain": 90.0}}
        chaos.run(lambda: kubeflow.start("retrain", "v2", **high), chaos.after_lines(": started", 12, 3.0))
        ledger.expect(world.production() == before, "90 points were wanted: production stays")
        ledger.survived("the candidate was trained and refused, production is untouched")
        ledger.begin("retrain, promoted")
        low = {"publish": kubeflow.publishing(), "promote": {"min_gain": 0.0}}
        ended = chaos.run(lambda: kubeflow.start("retrain", "v2", **low), chaos.after_lines(":", 8, 2.0))
        after = world.production()
        ledger.expect(after not in (None, before), "the new version is in production", after)
        ledger.say(f"   {_gain(ended)}")
        _await(lambda: traffic.versions()[-1] == after, "answers of the new version")
        traffic.send(10)
    ledger.expect(not traffic.failed, "no request failed meanwhile", f"{len(traffic.answers)} answered")
    ledger.expect(traffic.versions() == [before, after], "the version changed once")
    ledger.survived("one new version in production, served without a failed request")


def settle(world: World, endpoint: Endpoint, prometheus: Prometheus) -> None:
    """The new model knows the new domain: the same images are no drift any more."""
    ledger = world.ledger
    ledger.begin("after the reload")
    bundle = fetch_bundle(f"{REGISTRY}/model", world.work / "pulled", world.store.s3.endpoint_url)
    domains = json.loads((bundle / "domains.json").read_text(encoding="utf-8"))["domains"]
    ledger.expect(NEW in domains, "the new model was trained on the new domain", ", ".join(domains))
    known = read_streams(None, None, world.kubeflow.newest_dataset(), bundle).in_domain
    with Traffic(endpoint.url, known, PER_SECOND).flowing() as traffic:
        traffic.send(6 * len(known))
        _await(lambda: not prometheus.query(DRIFT), "the drift alert to end")
    ledger.expect(not traffic.failed, "every request was answered", f"{len(traffic.answers)} of old and new domains")
    ledger.expect(not prometheus.query(DRIFT), "no drift alert", f"PSI {prometheus.value(PSI):.2f}")


def _gain(ended: Command) -> str:
    return next((line for line in reversed(ended.lines()) if "compare" in line), "compare: nothing was said")


def _await(is_so: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise BrokenError(f"expected {what} within {timeout_s:.0f} s, found none")
        time.sleep(0.2)
