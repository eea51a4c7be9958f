"""Everything that pulls: one reader for each kind of upstream, and the pull that keeps one of them open.

``items`` is what readers hand over; ``address`` says which upstreams may be reached at all; ``fetch`` is the one HTTP
client; ``http``, ``hls``, ``datagrams``, ``ffmpeg``, ``publish`` and ``demo`` are the readers; ``kinds`` chooses among
them; ``pull`` opens, fails over, backs off and reconnects; ``succession`` goes from one medium to
another. Nothing here knows sessions, viewers or the control API.
"""
