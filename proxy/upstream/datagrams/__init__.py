"""What comes in datagrams: ``udp`` and ``rtp``, unicast and multicast.

``endpoint`` reads URLs; ``interfaces`` finds a network interface; ``reader`` holds the socket, and hands what comes to
``proxy.core.datagrams``.
"""

from proxy.upstream.datagrams.endpoint import SCHEMES, parse
from proxy.upstream.datagrams.reader import DatagramPolicy, read

__all__ = ["SCHEMES", "DatagramPolicy", "parse", "read"]
