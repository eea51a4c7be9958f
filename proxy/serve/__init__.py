"""Viewers: MPEG-TS over HTTP and HLS, and snapshots.

``mount`` adds the HTTP doors (``ts``, ``hls``, ``thumb``), ``connect`` makes the connections to them, which know a
shortcut for HLS; ``Pump`` is the one task that hands ranges of the rings to the viewers' sockets. A viewer of MPEG-TS
costs a parked task and one system call a flush; it can never slow another viewer or the upstream. Nothing here decides
what runs: it looks sessions up and enters and leaves them.
"""

from proxy.serve.burst import LAG_SHARE, BurstLimits
from proxy.serve.client import SlowRule
from proxy.serve.pump import Pump
from proxy.serve.routes import connect, mount

__all__ = ["LAG_SHARE", "BurstLimits", "Pump", "SlowRule", "connect", "mount"]
