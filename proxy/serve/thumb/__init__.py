"""Snapshots: ``GET /thumb/{key}.jpg``, the newest key picture of a stream that runs.

``door`` is the HTTP door, ``snapshots`` keeps what has been made and lets few be made at once, ``jpeg`` is the child
that makes one. A snapshot opens no upstream and counts as no viewer.
"""

from proxy.serve.thumb.door import ThumbDoor
from proxy.serve.thumb.jpeg import encode
from proxy.serve.thumb.snapshots import Snapshots

__all__ = ["Snapshots", "ThumbDoor", "encode"]
