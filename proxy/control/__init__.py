"""The control API: the doorway for the controller, in the words of ``proxy.contract``.

``routes`` parses, asks the registry and renders; ``guard`` lets only the controller in and turns every error into a
problem document; ``watch`` tells of changes; ``health`` is for probes and scrapers, without a token.
"""

from proxy.control.health import routes as health_routes
from proxy.control.routes import application

__all__ = ["application", "health_routes"]
