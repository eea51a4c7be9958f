"""What sources say about themselves is checked for form; the table of refusals is in ``test_topics``."""

import pytest
from pydantic import ValidationError

from controller.ingest.payloads import BirthPayload, StatsPayload, StatusPayload

STREAM = {"key": "a", "upstreams": ["demo:"]}


def test_unknown_fields_are_ignored():
    assert StatusPayload.model_validate({"online": True, "boot_id": "b", "later": 1}).online


def test_a_stream_of_a_birth_may_repeat_what_the_birth_says():
    repeated = {**STREAM, "boot_id": "b", "source": "s"}
    birth = BirthPayload.model_validate({"boot_id": "b", "source": "s", "streams": [repeated]})
    assert [entry.key for entry in birth.streams] == ["a"]


@pytest.mark.parametrize("field", ["boot_id", "source"])
def test_a_stream_of_a_birth_may_not_contradict_it(field):
    with pytest.raises(ValidationError, match=f"another {field}"):
        BirthPayload.model_validate({"boot_id": "b", "source": "s", "streams": [{**STREAM, field: "x"}]})


def test_figures_are_sorted_and_have_no_envelope():
    stats = StatsPayload.model_validate({"key": "k", "source": "s", "epoch": 1, "seq": 2, "z": 1, "a": 2.5})
    assert stats.values == (("a", 2.5), ("z", 1.0))
