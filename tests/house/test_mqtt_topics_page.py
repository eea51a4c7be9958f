"""The page of MQTT topics shows examples that the code takes, and names every limit that the code has."""

import json
import re
from pathlib import Path

import pytest

from controller import announcements
from controller.announcements import Announcement
from controller.domain.events import MessageRefused
from controller.ingest import connection, outgoing, payloads, topics
from tests.fakes.domain_values import stream

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "mqtt-topics.md").read_text()
TEXT = " ".join(PAGE.split())


def examples(section: str) -> list[dict[str, object]]:
    part = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    text = re.search(r"```json\n(.*?)```", part, re.DOTALL)[1].replace('"…"', '"http://h/"')
    return [json.loads(found) for found in re.findall(r"^\{.*?\}$(?=\n\{|\n*\Z)", text, re.DOTALL | re.MULTILINE)]


def test_the_examples_of_sources_are_taken():
    [started] = examples("started")
    status, birth = examples("status and birth")
    said = {"streams/cam-7/started": started, "status": status, "birth": birth}
    for topic, example in said.items():
        event = topics.decode(f"penstock/v1/sources/enc-1/{topic}", json.dumps(example).encode())
        assert event is not None
        assert not isinstance(event, MessageRefused), event.reason


def test_the_examples_of_the_controller_have_the_fields_it_sends():
    sent = {
        "state": [outgoing.state(stream())],
        "command": [outgoing.rebirth("s"), outgoing.stop(stream())],
        "controller/status": [outgoing.status(is_online=True, boot_id="x")],
    }
    for section, messages in sent.items():
        shown = [list(example) for example in examples(section)]
        assert shown == [list(json.loads(message.payload)) for message in messages]


@pytest.mark.parametrize("field", sorted(Announcement.model_fields))
def test_every_field_of_an_announcement_is_described(field):
    assert f"`{field}`" in PAGE


@pytest.mark.parametrize(
    "limit",
    [
        f"1 to {announcements.UPSTREAMS_MAX}",
        f"At most {announcements.URL_CHARACTERS_MAX} characters",
        f"up to {announcements.HEADERS_MAX} `headers`",
        f"up to {announcements.LABELS_MAX};",
        f"cut to {announcements.DETAIL_CHARACTERS_MAX} characters",
        f"up to {payloads.STREAMS_MAX:,} entries".replace(",", " "),
        f"up to {payloads.FIGURES_MAX}, names",
        f"first {topics.HEAD_BYTES // 1024} KiB",
        f"over {topics.DEFAULT_RULES.payload_bytes_max // 1024} KiB",
        f"births: {topics.DEFAULT_RULES.birth_bytes_max // 1024**2} MiB",
        f"waits {connection.WILL_DELAY_SECONDS} s",
        f"{connection.SESSION_EXPIRY_SECONDS // 86400} days with MQTT 5",
        f"({connection.INFLIGHT_MAX_OLD} with MQTT 3.1.1)",
        announcements.NAME_PATTERN.strip("^$"),
        announcements.LABEL_NAME_PATTERN.strip("^$"),
        *(f"`{scheme}`" for scheme in announcements.SCHEMES),
        *(f"`{reason}`" for reason in sorted(announcements.REASONS_OF_SOURCES)),
    ],
)
def test_a_limit_is_the_one_of_the_code(limit):
    assert limit in TEXT
