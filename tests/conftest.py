"""One thread per process: two workers share two cores, and OpenMP collapses when it has to share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that asks a hub must fail at once, here and everywhere
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
