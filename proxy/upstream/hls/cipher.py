"""Decrypts segments of HLS (RFC 8216, 5.2: AES-128 in CBC mode with PKCS #7 padding), chunk by chunk.

The one home of ``cryptography``. Nothing is buffered but the last block, which may be padding.
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from proxy.errors import UpstreamContentError
from proxy.upstream.hls.playlist import IV_BYTES

KEY_BYTES: Final = 16


class Decrypter:
    """One segment's: ``iv`` is its initialisation vector, and its number where the playlist tells none (5.2)."""

    def __init__(self, key: bytes, iv: bytes | None, number: int) -> None:
        vector = number.to_bytes(IV_BYTES) if iv is None else iv
        self._plain = Cipher(algorithms.AES128(key), modes.CBC(vector)).decryptor()
        self._padding = PKCS7(IV_BYTES * 8).unpadder()

    def push(self, chunk: bytes) -> bytes:
        """Return what can be read now."""
        return self._padding.update(self._plain.update(chunk))

    def finish(self) -> bytes:
        """Return the rest; raise UpstreamContentError when this was not encrypted with this key."""
        try:
            return self._padding.update(self._plain.finalize()) + self._padding.finalize()
        except ValueError:
            raise UpstreamContentError("a segment cannot be decrypted with the key that the playlist names") from None
