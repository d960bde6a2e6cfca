"""The Kubeflow pipelines, how they are compiled and how they run on this machine."""
