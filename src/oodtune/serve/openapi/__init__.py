"""The OpenAPI document of the HTTP interface, at `/openapi.json`, and the page made of it, at `/docs`."""

from oodtune.serve.openapi.document import ApiFacts, describe_api
from oodtune.serve.openapi.handlers import routes

__all__ = ["ApiFacts", "describe_api", "routes"]
