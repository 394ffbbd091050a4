"""The HTTP API: what the hub shows and takes over the network; no logic of its own."""

from hub.api.app import make_app
from hub.api.parts import ApiParts
from hub.api.server import bind, serve_api

__all__ = ["ApiParts", "bind", "make_app", "serve_api"]
