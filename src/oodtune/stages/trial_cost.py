"""What training a trial took, as measured: `cost.json` in a trial's directory, which its manifest does not list."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from oodtune.config import Section, describe_validation_error
from oodtune.errors import ArtifactError

if TYPE_CHECKING:
    import torch

COST = "cost.json"


class TrialCost(Section):
    """Of all parts of the training, if it was interrupted, each up to its last checkpoint."""

    seconds: float
    """Wall-clock time of training with its evaluations, without start-up. Trials that ran at once share a machine."""
    num_images: int
    """Images it was trained on, with repeats, by all processes."""
    joules: float | None
    """Of its GPUs alone, or of all CPU packages with whatever else ran there; None where no counter may be read."""
    device: str
    """Such as `CPU, 2 threads`, or the name of the GPU; of the last part."""
    num_processes: int
    """That trained together, each on a device of its own."""

    @property
    def devices(self) -> str:
        return self.device if self.num_processes == 1 else f"{self.num_processes} x {self.device}"

    @property
    def images_per_s(self) -> float:
        return self.num_images / self.seconds


def describe_device(device: "torch.device") -> str:
    """Return the name of a GPU, or how many threads compute on the CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def read_cost(trial_dir: Path) -> TrialCost | None:
    """Return what the trial took; None if that was not recorded: older versions did not.

    Raises ArtifactError if the file is not what `oodtune train` wrote.
    """
    path = trial_dir / COST
    try:
        return TrialCost.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtifactError(
            f"{path}: expected the cost of a trial ({describe_validation_error(error)}); delete the file: the trial "
            "is whole without it"
        ) from None
