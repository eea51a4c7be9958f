"""The embedded broker, by the client that the controller uses: what first steps rely on, and what it is known to lack."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import aiomqtt
import pytest

from controller.cli import broker, demo, machine
from controller.errors import StartupError
from controller.settings import Address
from tests.fakes.ports import free_port

SECONDS = 10


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[int]:
    port, stop = free_port(), asyncio.Event()
    async with asyncio.timeout(4 * SECONDS), asyncio.TaskGroup() as group:
        group.create_task(broker.serve(f"127.0.0.1:{port}", stop))
        while not await is_ready(port):  # noqa: ASYNC110 - the broker sets no event of ours
            await asyncio.sleep(0.01)
        try:
            yield port
        finally:
            stop.set()


async def is_ready(port: int) -> bool:
    try:
        return await machine.accepts_mqtt(Address("127.0.0.1", port))
    except OSError:
        return False


def client(port: int, name: str, **options) -> aiomqtt.Client:
    options.setdefault("protocol", aiomqtt.ProtocolVersion.V311)
    return aiomqtt.Client("127.0.0.1", port, identifier=name, timeout=SECONDS, **options)


async def take(receiver: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    taken: list[aiomqtt.Message] = []
    async with asyncio.timeout(SECONDS):
        async for message in receiver.messages:
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def counted(messages) -> AsyncIterator[tuple[int, aiomqtt.Message]]:
    count = 0
    async for message in messages:
        count += 1
        yield count, message


async def test_retained_messages_wait_for_who_comes_later_and_can_be_removed():
    async with running() as port:
        async with client(port, "source") as source:
            await source.publish("a/kept", b"1", qos=1, retain=True)
            await source.publish("a/removed", b"1", qos=1, retain=True)
            await source.publish("a/removed", b"", qos=1, retain=True)
        async with client(port, "late") as late:
            await late.subscribe("a/#", qos=1)
            [kept] = await take(late, 1)
            assert (str(kept.topic), kept.payload, kept.retain) == ("a/kept", b"1", True)


async def test_a_last_will_is_published_when_a_source_dies():
    async with running() as port, client(port, "watcher") as watcher:
        await watcher.subscribe("w/status", qos=1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        # CONNECT of "dying", with the retained will "gone" on w/status, then nothing more.
        payload = b"\x00\x05dying\x00\x08w/status\x00\x04gone"
        packet = b"\x00\x04MQTT\x04\x2e\x00\x3c" + payload
        writer.write(b"\x10" + bytes([len(packet)]) + packet)
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()
        [will] = await take(watcher, 1)
        assert will.payload == b"gone"
        async with client(port, "late") as late:
            await late.subscribe("w/status", qos=1)
            [kept] = await take(late, 1)
            assert kept.retain


async def test_what_comes_while_the_controller_is_away_waits_for_it_as_news():
    async with running() as port:
        async with client(port, "controller", clean_session=False) as controller:
            await controller.subscribe("q/#", qos=1)
        async with client(port, "source") as source:
            for number in range(50):
                await source.publish(f"q/{number}", str(number), qos=1)
        async with client(port, "controller", clean_session=False) as controller:
            found = await take(controller, 50)
        assert [str(message.topic) for message in found] == [f"q/{number}" for number in range(50)]
        assert not any(message.retain for message in found)


async def test_a_client_that_subscribes_before_it_reads_is_served_at_once():
    async with running() as port:
        async with client(port, "controller", clean_session=False) as controller:
            await controller.subscribe("q/#", qos=1)
        async with client(port, "source") as source:
            for number in range(50):
                await source.publish(f"q/{number}", b"x", qos=1)
        returning = client(port, "controller", clean_session=False)
        returning._client.manual_ack_set(True)  # acknowledges what it has read, as the controller does
        async with asyncio.timeout(3), returning as controller:
            await controller.subscribe("q/#", qos=1)
            async for count, message in counted(controller.messages):
                controller._client.ack(message.mid, message.qos)
                if count == 50:
                    break


async def test_what_was_not_acknowledged_comes_again():
    async with running() as port:
        async with client(port, "controller", clean_session=False) as controller:
            await controller.subscribe("q/#", qos=1)
        async with client(port, "source") as source:
            for number in range(5):
                await source.publish(f"q/{number}", b"x", qos=1)
        careless = client(port, "controller", clean_session=False)
        careless._client.manual_ack_set(True)
        async with careless as controller:
            first, *_ = await take(controller, 5)
            controller._client.ack(first.mid, first.qos)
            await asyncio.sleep(0.1)
        async with client(port, "controller", clean_session=False) as controller:
            assert sorted(str(message.topic) for message in await take(controller, 4)) == ["q/1", "q/2", "q/3", "q/4"]


async def test_a_second_client_of_the_same_name_takes_over():
    async with running() as port, client(port, "twin"), client(port, "twin") as second:
        await second.publish("x", b"1", qos=1)


async def test_mqtt_5_is_refused_and_not_misunderstood():
    async with running() as port:
        with pytest.raises(aiomqtt.MqttError, match="protocol"):
            async with client(port, "modern", protocol=aiomqtt.ProtocolVersion.V5):
                pass


async def test_it_stops_at_once_with_clients_connected():
    loop = asyncio.get_running_loop()
    async with running() as port, client(port, "a"):
        began = loop.time()
        with contextlib.suppress(aiomqtt.MqttError):
            await asyncio.sleep(0)
    assert loop.time() - began < SECONDS / 2


async def test_a_taken_port_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartupError, match="cannot listen"):
            await broker.serve(f"127.0.0.1:{taken.getsockname()[1]}", asyncio.Event())


async def test_the_demo_source_announces_answers_and_says_goodbye():
    async with running() as port, client(port, "controller") as controller:
        await controller.subscribe("penstock/v1/sources/demo/#", qos=1)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(demo.announce(f"mqtt://127.0.0.1:{port}", "demo", stop))
            status, birth, started = await take(controller, 3)
            assert [str(message.topic).rpartition("/")[2] for message in (status, birth, started)] == [
                "status", "birth", "started",
            ]  # fmt: skip
            await controller.publish(demo.COMMAND, json.dumps({"command": "rebirth"}), qos=1)
            own, again = await take(controller, 2)
            assert (str(own.topic), str(again.topic)) == (demo.COMMAND, demo.BIRTH)
            stop.set()
            ended, goodbye = await take(controller, 2)
            assert str(ended.topic).endswith("/demo/ended")
            assert json.loads(bytes(goodbye.payload))["online"] is False
