"""The pure part of the proxy: bytes and times in, ranges and texts out.

``aligner`` cuts bytes into packets; ``mpegts`` finds where a viewer may join (with ``psi`` for the tables and
``pictures`` for key frames) and ``splice`` tells of jumps; ``ring`` keeps the newest bytes under absolute positions;
``playlist`` cuts the ring into HLS segments and writes playlists, ``limit`` where no key picture comes in time;
``fragments`` passes MP4 through the same two; ``feed`` is all of them as one pipeline. Nothing here waits, reads a
clock or does I/O: storage and times are handed in.
"""
