"""ONNX Runtime, without what it would tell its makers."""

import contextlib
import importlib
import os
import sys
from types import ModuleType
from typing import Final

TELEMETRY_OFF: Final = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime; every import of it goes through here. Raises ImportError if there is none.

    From 1.32 on, an import writes a device id and a database of events below HOME, to be sent away; only this variable,
    set before, keeps it from that. Somebody who sets it to 0 is heard.
    """
    os.environ.setdefault(TELEMETRY_OFF, "1")
    return importlib.import_module("onnxruntime")


def load_cuda(onnxruntime: ModuleType) -> None:
    """Load CUDA and cuDNN from the wheels beside it.

    onnxruntime-gpu finds them there only if it is told to, or if torch has loaded them. What is missing is said on
    stderr, and the provider will not work.
    """
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
