"""Check, prepare, cache and batches, from a thousand images to a hundred thousand.

    python -m benchmarks.growth_images

Drawn JPEGs of 160x120 in four domains; commands run as users run them, start-up included; memory is the most that the
main process had of its own. Exits with 1 if a cost grows faster than the images.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.growth import LINEAR, SLOW, Curve, Growth, add, conclude, parser, time_commands
from benchmarks.photographs import DOMAINS, draw_photographs
from benchmarks.settings import write_settings

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
SIZE = 64
CONSTANT = 0.2
"""The most exponent of a batch, which is of one size."""
BATCHES = 50


def main() -> int:
    options = parser(__doc__, "images", SIZES).parse_args()
    curves = {
        "check": Curve("data check", "s", most_exponent=LINEAR),
        "prepare": Curve("prepare", "s", most_exponent=LINEAR),
        "cache": Curve("cache", "s", most_exponent=LINEAR),
        "check memory": Curve("data check", "MB", most_exponent=SLOW),
        "prepare memory": Curve("prepare", "MB", most_exponent=SLOW),
        "cache memory": Curve("cache", "MB", most_exponent=SLOW),
        "batch": Curve("a batch of 96", "ms", most_exponent=CONSTANT),
    }
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as name:
            found = measure(Path(name), size)
        add(curves, size, found)
    return conclude(options, Growth("images", options.sizes, list(curves.values())), "pillow", "numpy", "torch")


def measure(directory: Path, size: int) -> dict[str, float]:
    """Return curve -> value for so many images."""
    draw_photographs(directory / "images", size, width=160, height=120)
    write_settings(directory, data={"source": "folder", "root": str(directory / "images")}, preprocess={"size": SIZE})
    commands = {
        "check": ["data", "check", "--out", "check"],
        "prepare": ["prepare", "--out", "dataset"],
        "cache": ["cache", "--dataset", "dataset", "--out", "cache"],
    }
    found = time_commands(commands, directory)
    return found | {"batch": 1e3 * _seconds_of_a_batch(directory / "cache")}


def _seconds_of_a_batch(cache: Path) -> float:
    import torch

    from oodtune.config import AugmentConfig, TrainConfig
    from oodtune.stages.feed import open_feed
    from oodtune.train.ranks import Ranks

    train = TrainConfig(batch_per_domain=32)
    with open_feed(cache, DOMAINS[0], 0, AugmentConfig(), train, Ranks(torch.device("cpu"))) as feed:
        for step in range(BATCHES):
            feed.batches.draw(step)
        begun_s = time.perf_counter()
        for step in range(BATCHES, 2 * BATCHES):
            feed.batches.draw(step)
        return (time.perf_counter() - begun_s) / BATCHES


if __name__ == "__main__":
    sys.exit(main())
