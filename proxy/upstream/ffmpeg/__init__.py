"""What ffmpeg reads for us: ``rtsp``, ``rtmp``, ``srt`` and files, by one supervised child for each pull.

``source`` says what is read and how; ``child`` runs a program and always ends it; ``leash`` is the script that ties it
to this process; ``complaints`` makes what ffmpeg says fit for people.
"""

from proxy.upstream.ffmpeg.source import SCHEMES, FfmpegPolicy, parse, read

__all__ = ["SCHEMES", "FfmpegPolicy", "parse", "read"]
