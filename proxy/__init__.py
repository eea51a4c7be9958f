"""The proxy: moves bytes, forgets.

It pulls each stream once, keeps its newest seconds in a ring and hands ranges of that ring to any number of
viewers. It knows nobody: the controller asks it (``control``), it never calls back.

Rooms, from the bottom: ``core`` (pure: packets, ring, playlists) and ``contract`` (wire types, the only door);
``segments`` (memory the kernel can send from) and ``upstream`` (one reader per kind of source); ``session``
(one pull, one ring, its viewers); ``registry`` (all sessions, fenced by key); ``control``, ``serve`` and ``publish``
(HTTP for the controller, for viewers and for those who push); ``app`` (builds everything). A room sees only the rooms
below it.
"""
