"""The page at `/`: one drops an image and sees what the model says of it. It asks no other origin for anything."""

from oodtune.serve.page.files import PAGE_CSS, StaticFile, routes

__all__ = ["PAGE_CSS", "StaticFile", "routes"]
