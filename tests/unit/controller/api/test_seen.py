from dataclasses import replace

from controller.api.seen import Seen
from controller.domain.observation import Observed
from tests.fakes.domain_values import P1, P2, session, view


def test_sessions_are_found_by_stream_on_every_proxy_that_lists_them():
    first = view(session(stream_id="s1"), session(stream_id="s2"), proxy_id=P1)
    second = view(session(stream_id="s1", generation=2), proxy_id=P2)
    seen = Seen(Observed((first, second)))
    assert [(shown.proxy_id, it.generation) for shown, it in seen.of("s1")] == [(P1, 1), (P2, 2)]
    assert seen.of("unknown") == []
    assert len(list(seen.sessions())) == 3


def test_what_is_seen_anew_replaces_what_was_seen_before_and_the_rest_is_taken_over():
    kept = view(session(stream_id="s1"), proxy_id=P1)
    gone = view(session(stream_id="s2"), proxy_id=P2)
    before = Seen(Observed((kept, gone)))
    after = Seen(Observed((kept, replace(gone, sessions=(session(stream_id="s3"),)))), before)
    assert [it.stream_id for _, it in after.sessions()] == ["s1", "s3"]
    assert after.of("s1") == before.of("s1")
    assert after.of("s2") == []
    assert len(after.of("s3")) == 1
    assert Seen(Observed(()), after).of("s1") == []
