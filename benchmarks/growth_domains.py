"""Soups, evaluation, selection and report of 960 images in more and more domains, each left out in turn.

    python -m benchmarks.growth_domains

Every domain more is one more target with two trials, all of them looked at on all images: linear is what there is to
do. Commands run as users run them, start-up included. Exits with 1 if a cost grows faster than the domains.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.growth import Growth, add, conclude, parser
from benchmarks.growth_sweep import make_curves, measure, write_inputs
from oodtune.config import SweepConfig

SIZES = (3, 6, 12, 24)
IMAGES = 960


def main() -> int:
    options = parser(__doc__, "domains", SIZES).parse_args()
    curves = make_curves()
    for size in options.sizes:
        domains = tuple(f"domain{place:02}" for place in range(size))
        sweep = SweepConfig(
            target_domains=domains,
            methods=("plain", "large_dropout"),
            learning_rates=(5e-5,),
            weight_decays=(1e-4,),
            seeds=(0,),
        )
        with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as name:
            write_inputs(Path(name), domains, IMAGES // size, sweep)
            add(curves, size, measure(Path(name)))
    return conclude(options, Growth("domains", options.sizes, list(curves.values())), "torch", "timm", "numpy")


if __name__ == "__main__":
    sys.exit(main())
