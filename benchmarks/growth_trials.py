"""Soups, evaluation, selection and report, from one trial to 64, all of one target domain.

    python -m benchmarks.growth_trials

`again` is an evaluation when all logits are known. Exits with 1 if a cost grows faster than the trials.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.growth import Growth, add, conclude, parser
from benchmarks.growth_sweep import make_curves, measure, write_inputs
from oodtune.config import SweepConfig

SIZES = (1, 4, 16, 64)
DOMAINS = ("clay", "ink", "oil", "wax")
IMAGES = 60
"""Of every domain."""


def main() -> int:
    options = parser(__doc__, "trials", SIZES).parse_args()
    curves = make_curves()
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as name:
            sweep = SweepConfig(
                target_domains=DOMAINS[:1],
                methods=("plain",),
                learning_rates=(5e-5,),
                weight_decays=(1e-4,),
                seeds=tuple(range(size)),
            )
            write_inputs(Path(name), DOMAINS, IMAGES, sweep)
            add(curves, size, measure(Path(name)))
    return conclude(options, Growth("trials", options.sizes, list(curves.values())), "torch", "timm", "numpy")


if __name__ == "__main__":
    sys.exit(main())
