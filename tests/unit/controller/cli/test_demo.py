"""The demo source: every message it sends is one that the controller understands."""

import json

import pytest

from controller.cli import demo
from controller.domain.events import BirthReported, SourceReported, StreamAnnounced, StreamEndAnnounced
from controller.ingest import topics


@pytest.fixture
def source() -> demo.Source:
    return demo.Source("demo")


def decode(topic: str, text: str):
    return topics.decode(topic, text.encode())


def test_its_status_is_understood(source):
    online = decode(demo.STATUS, source.status(online=True))
    assert isinstance(online, SourceReported)
    assert (online.is_online, online.boot_id) == (True, source.boot_id)
    will = decode(demo.STATUS, source.status(online=False))
    assert isinstance(will, SourceReported)
    assert (will.is_online, will.boot_id) == (False, source.boot_id)


def test_its_start_and_end_are_understood(source):
    start = decode(source.topic("started"), json.dumps(source.started()))
    end = decode(source.topic("ended"), source.ended())
    assert isinstance(start, StreamAnnounced)
    assert isinstance(end, StreamEndAnnounced)
    assert start.key == end.key == "demo"
    assert start.order is not None
    assert end.order is not None
    assert start.order < end.order
    assert start.order.epoch == end.order.epoch


def test_its_birth_says_the_same_as_its_start(source):
    start = decode(source.topic("started"), json.dumps(source.started()))
    first, second = (decode(demo.BIRTH, source.birth()) for _ in range(2))
    assert isinstance(start, StreamAnnounced)
    assert isinstance(first, BirthReported)
    assert isinstance(second, BirthReported)
    assert (first.streams[0].spec, first.streams[0].order) == (start.spec, start.order)
    assert first.seq is not None
    assert second.seq == first.seq + 1


def test_a_stream_that_was_stopped_is_born_no_more(source):
    source.is_stopped = True
    birth = decode(demo.BIRTH, source.birth())
    assert isinstance(birth, BirthReported)
    assert birth.streams == ()


def test_a_new_process_is_a_new_boot(source):
    other = demo.Source("demo")
    assert other.boot_id != source.boot_id
    assert other.epoch >= source.epoch


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'"x"', None, 3], ids=repr)
def test_what_it_cannot_read_is_nothing(payload):
    assert demo._read(payload) == {}
