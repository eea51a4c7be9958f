"""One session: at most one pull, one feed, and the viewers of one key.

``session`` is the session itself; ``gate`` answers viewers who wait for its start; ``feeds`` are what they are
given, ``viewers`` plain records of them; ``supply`` says when the upstream is open; ``report`` is what the control API
shows; ``ports`` is what the session is given from outside.
"""

from proxy.session.ports import SessionLimits, SessionPorts
from proxy.session.session import Session
from proxy.session.viewers import Viewer, ViewerGauge

__all__ = ["Session", "SessionLimits", "SessionPorts", "Viewer", "ViewerGauge"]
