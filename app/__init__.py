"""The dashboard: reads a run folder's tables and shows them in a browser; computes nothing."""

from app.factory import create_app
from app.server import serve

__all__ = ["create_app", "serve"]
