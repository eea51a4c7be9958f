"""A subscriber that is told to end does end, whatever the broker does at that moment."""

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop

from controller.errors import BrokerLostError
from controller.ingest.connection import Link, Message, connect
from controller.store.engine import Database
from tests.fakes.broker import Mosquitto
from tests.fakes.mqtt import until
from tests.fakes.subscriber_process import CLIENT_ID, build

TURNS = 8
"""The loss of a connection takes fewer turns of the event loop to be known everywhere."""


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_broker_that_goes_in_the_same_moment_does_not_keep_it(
    make_broker: Callable[..., Mosquitto], database: Database, protocol
):
    broker = make_broker()
    for turns in range(TURNS):
        await broker.start()
        subscriber = build(database, Link("127.0.0.1", broker.port, CLIENT_ID, protocol=protocol))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(subscriber.run())
            await until(lambda subscriber=subscriber: subscriber.is_connected, "connected")
            broker.stop(kill=True)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            is_over = task.done()
            task.cancel()
        assert is_over, f"cancelled {turns} turns of the loop after the broker went"


async def test_a_broker_that_dies_before_it_can_be_written_to_leaves_no_complaint(mosquitto: Mosquitto):
    link = Link("127.0.0.1", mosquitto.port, CLIENT_ID)
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    with suppress(BrokerLostError):
        async with connect(link, will=Message("will", b""), farewell_seconds=0.1) as connection:
            paho = connection._paho
            paho.socket().shutdown(socket.SHUT_RDWR)
            paho.publish("t", b"x", qos=1)  # asks to be told when it can write
            paho.loop_read()  # notices, and closes, before the loop comes round
            await asyncio.sleep(0)
            await connection.publish(Message("t", b"y"))
    assert complaints == []


def test_a_reset_is_noticed_long_before_the_keepalive(caplog: pytest.LogCaptureFixture):
    """uvloop calls once for a reset. What lies before it is read then, and no other call follows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = threading.Event()
        broker = threading.Thread(target=_greet_and_reset, args=(server, told))
        broker.start()

        async def lose() -> None:
            link = Link(*server.getsockname(), CLIENT_ID, protocol="3.1.1", keepalive_seconds=600)
            async with connect(link, will=Message("will", b""), farewell_seconds=0.1) as connection:
                told.set()
                broker.join()  # keeps the loop from looking in between
                [received] = await connection.receive(1, 0)
                assert received.topic == "t"
                connection._paho.publish("t", b"", qos=1)  # where the loop has given the socket up: no error
                async with asyncio.timeout(5):
                    await connection.receive(1, 0)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(BrokerLostError):
            runner.run(lose())
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def _greet_and_reset(server: socket.socket, told: threading.Event) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"\x20\x02\x00\x00")  # CONNACK
        told.wait(10)
        connection.sendall(b"\x30\x03\x00\x01t")  # PUBLISH
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
