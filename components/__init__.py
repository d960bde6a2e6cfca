"""The stages of oodtune as Kubeflow components: each file is one import and one call.

Kubeflow copies the source of each function into the pipeline's definition and runs it where the rest
of its file does not exist: that is why the imports stand inside the bodies.
"""

from oodtune import __version__

IMAGE = f"oodtune-train:{__version__}"
"""The image the components run in, unless `oodtune pipeline compile --image` names another."""
