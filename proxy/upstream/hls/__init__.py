"""HLS as an upstream (RFC 8216 and its successor, draft-pantos-hls-rfc8216bis): playlists in, one run of media out.

``playlist`` reads texts into values and ``variant`` chooses among qualities; ``cursor`` decides which segments are due
and when to ask again; all three are pure. ``download`` fetches playlists, keys and segments, within bounds; ``cipher``
decrypts; ``reader`` is the loop. Refused by name: SAMPLE-AES and other ciphers, variables, and audio in separate
renditions.
"""

from proxy.upstream.hls.reader import read

__all__ = ["read"]
