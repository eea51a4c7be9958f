"""HLS playlists as texts, and encrypted segments, for tests of what reads them."""

from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from proxy.upstream.hls import playlist
from proxy.upstream.hls.playlist import MediaPlaylist


def live(
    first: int, count: int, *, ended: bool = False, tags: Mapping[int, str] | None = None, seconds: float = 1.0
) -> str:
    """A window of segments ``s{number}.ts``; ``tags`` are lines before a number's segment."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number in range(first, first + count):
        lines += [*(tags or {}).get(number, "").splitlines(), f"#EXTINF:{seconds},", f"s{number}.ts"]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else [])])


def media(text: str) -> MediaPlaylist:
    read = playlist.parse(text)
    assert isinstance(read, MediaPlaylist)
    return read


def listed(first: int, count: int, *, ended: bool = False) -> MediaPlaylist:
    return media(live(first, count, ended=ended))


def encrypted(plain: bytes, key: bytes, iv: bytes) -> bytes:
    """What an origin serves for a segment with METHOD=AES-128."""
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES128(key), modes.CBC(iv)).encryptor()
    return cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
