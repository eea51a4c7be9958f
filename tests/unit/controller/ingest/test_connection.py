"""The library inside is the one that was measured. The conversation itself: ``tests/integration/ingest``."""

import aiomqtt
import pytest

from controller.ingest import connection
from controller.ingest.connection import Link

LINK = Link("127.0.0.1", 1883, "controller", password="secret")


async def test_the_library_inside_is_the_one_that_was_measured():
    client = aiomqtt.Client("127.0.0.1")
    paho = connection._paho_of(client)
    assert all(hasattr(paho, name) for name in connection.USED_OF_PAHO)


async def test_another_library_inside_is_noticed_before_anything_is_lost():
    client = aiomqtt.Client("127.0.0.1")
    client._client = object()
    with pytest.raises(AssertionError, match="another aiomqtt"):
        connection._paho_of(client)


def test_the_password_is_not_shown():
    assert "secret" not in repr(LINK)
