"""Viewers: MPEG-TS over HTTP and HLS, and snapshots.

``routes`` are the HTTP doors (``ts``, ``hls``, ``thumb``); ``Pump`` is the one task that hands ranges of the rings to
the viewers' sockets. A viewer costs a parked task and one system call a flush; it can never slow another viewer or the
upstream. Nothing here decides what runs: it looks sessions up and enters and leaves them.
"""

from proxy.serve.burst import LAG_SHARE, BurstLimits
from proxy.serve.client import SlowRule
from proxy.serve.pump import Pump
from proxy.serve.routes import routes

__all__ = ["LAG_SHARE", "BurstLimits", "Pump", "SlowRule", "routes"]
