"""The random changes of training images, on a whole batch at once: DomainBed's, and stronger ones.

draw_changes     all random numbers of a batch, on the CPU, before any pixel is touched
apply            one resampling (crop, flip, shears, shifts, turns), one 3x3 matrix and one offset (all that is
                 affine in RGB), then what is neither, on the images that drew it; erasing last
augment          both
"""

from oodtune.data.augment.changes import Changes, apply, augment, draw_changes
from oodtune.data.augment.colour import hue_rotation, recolour
from oodtune.data.augment.erasing import erase
from oodtune.data.augment.geometry import crop_and_flip
from oodtune.data.augment.operations import Operation
from oodtune.data.augment.retouch import retouch

__all__ = [
    "Changes",
    "Operation",
    "apply",
    "augment",
    "crop_and_flip",
    "draw_changes",
    "erase",
    "hue_rotation",
    "recolour",
    "retouch",
]
