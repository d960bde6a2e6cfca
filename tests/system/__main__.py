"""The whole system, with real processes that are killed at random: what survives?

    python -m tests.system
    python -m tests.system --seed 7 --kills 3 --work /tmp/system

git and DVC push images to an S3 service; the sweep runs as a Kubeflow pipeline on this machine; its model is
published, promoted, served and watched by Prometheus with the project's rules; images of a domain that nobody had
seen raise the drift alert; that domain becomes a revision, retrain trains on it, its gate refuses and then promotes,
and the endpoint takes the new version while clients ask. Meanwhile, processes get kill -9 at moments that follow from
the seed. Ends with a table of what was injected and what survived, and with 1 if anything did not. Needs prometheus.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from k8s.monitoring_demo.prometheus import find_prometheus
from oodtune.errors import UserError
from tests.system.ledger import BrokenError
from tests.system.story import World, tell


def main() -> int:
    options = parse()
    try:
        find_prometheus()
        work = prepare(options.work)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"seed {options.seed}, {options.kills} kills a step, {work}", flush=True)
    world, trouble = World.create(work, options.seed, options.kills), None
    try:
        tell(world)
    except (BrokenError, UserError) as error:
        trouble = f"{world.ledger.step}: {error}"
    lost = [one.step for one in world.ledger.unjudged()]
    trouble = trouble or (f"nobody looked at what survived in {', '.join(lost)}" if lost else None)
    world.ledger.write(work / "survived.json", options.seed, trouble)
    print(f"\n{world.ledger.table()}\n{len(world.ledger.checks)} checks held")
    if trouble is not None:
        print(f"BROKEN: {trouble}\neverything is kept in {work}; again with --seed {options.seed}", file=sys.stderr)
        return 1
    if options.work is None:
        shutil.rmtree(work)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.system", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1000), help="of the moments; random, and printed")
    parser.add_argument("--kills", type=int, default=2, help="in each step (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="an empty directory to work in and keep; else a temporary one")
    return parser.parse_args()


def prepare(work: Path | None) -> Path:
    """Return the directory to work in. Raises UserError if there is something in it."""
    if work is None:
        return Path(tempfile.mkdtemp(prefix="oodtune-system-"))
    if work.exists() and any(work.iterdir()):
        raise UserError(f"--work {work}: expected an empty directory, found files in it")
    work.mkdir(parents=True, exist_ok=True)
    return work.resolve()


if __name__ == "__main__":
    sys.exit(main())
