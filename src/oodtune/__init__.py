"""oodtune: fine-tune image classifiers that keep working where their training data did not come from.

The names in `__all__` are the public API. Each is imported when it is first used, so that `import oodtune` takes no
time and serving needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from oodtune.artifact import Artifact, open_artifact
    from oodtune.bundle import Bundle, open_bundle
    from oodtune.combine.ensemble import logit_ensemble, probability_ensemble
    from oodtune.combine.greedy import greedy_soup
    from oodtune.combine.interpolate import interpolate
    from oodtune.combine.model_stock import model_stock
    from oodtune.combine.soup import uniform_soup
    from oodtune.config import Config, PreprocessConfig, load_config
    from oodtune.errors import UserError
    from oodtune.model.network import Network, build_network
    from oodtune.preprocess import decode_image
    from oodtune.train.update import update
    from oodtune.trial import NetworkSpec

_MODULES = {
    "Artifact": "artifact",
    "Bundle": "bundle",
    "Config": "config",
    "Network": "model.network",
    "NetworkSpec": "trial",
    "PreprocessConfig": "config",
    "UserError": "errors",
    "build_network": "model.network",
    "decode_image": "preprocess",
    "greedy_soup": "combine.greedy",
    "interpolate": "combine.interpolate",
    "load_config": "config",
    "logit_ensemble": "combine.ensemble",
    "model_stock": "combine.model_stock",
    "open_artifact": "artifact",
    "open_bundle": "bundle",
    "probability_ensemble": "combine.ensemble",
    "uniform_soup": "combine.soup",
    "update": "train.update",
}
"""Public name -> where it is."""

__all__ = [
    "Artifact",
    "Bundle",
    "Config",
    "Network",
    "NetworkSpec",
    "PreprocessConfig",
    "UserError",
    "__version__",
    "build_network",
    "decode_image",
    "greedy_soup",
    "interpolate",
    "load_config",
    "logit_ensemble",
    "model_stock",
    "open_artifact",
    "open_bundle",
    "probability_ensemble",
    "uniform_soup",
    "update",
]


if not TYPE_CHECKING:  # type checkers know the names from above, and would take any other for one

    def __getattr__(name: str) -> object:
        """Import what a public name stands for (PEP 562). Raises AttributeError for any other."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
