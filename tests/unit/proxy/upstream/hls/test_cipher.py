import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamContentError
from proxy.upstream.hls.cipher import Decrypter
from tests.fakes.hls_lists import encrypted

KEY = bytes(range(16))


def read(decrypter: Decrypter, secret: bytes, sizes: list[int]) -> bytes:
    got = b""
    at = number = 0
    while at < len(secret):
        size = sizes[number % len(sizes)]
        got += decrypter.push(secret[at : at + size])
        at, number = at + size, number + 1
    return got + decrypter.finish()


@given(
    st.binary(max_size=400),
    st.lists(st.integers(1, 70), min_size=1, max_size=5),
    st.none() | st.binary(min_size=16, max_size=16),
)
def test_what_was_encrypted_comes_back_however_it_is_cut(plain: bytes, sizes: list[int], iv: bytes | None) -> None:
    secret = encrypted(plain, KEY, (9).to_bytes(16) if iv is None else iv)
    assert read(Decrypter(KEY, iv, 9), secret, sizes) == plain


def test_it_is_what_openssl_makes() -> None:
    """NIST SP 800-38A, F.2.1, one block."""
    key, iv = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    assert encrypted(plain, key, iv)[:16].hex() == "7649abac8119b246cee98e9b12e9197d"
    assert read(Decrypter(key, iv, 0), encrypted(plain, key, iv), [7]) == plain


@pytest.mark.parametrize("secret", [b"", b"x", bytes(16), bytes(40)], ids=["nothing", "a byte", "a block", "cut short"])
def test_what_was_not_is_refused(secret: bytes) -> None:
    with pytest.raises(UpstreamContentError, match="cannot be decrypted"):
        read(Decrypter(KEY, None, 1), secret, [100])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(secret: bytes) -> None:
    try:
        plain = read(Decrypter(KEY, None, 1), secret, [33])
    except UpstreamContentError:
        return
    assert len(plain) < len(secret)
