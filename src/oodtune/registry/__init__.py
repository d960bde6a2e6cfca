"""Versions of a model in an S3 bucket, and which of them is in production. No torch.

A version is a whole bundle. Its manifest is written last, by a conditional put: without one it does not exist.
"""
