from dataclasses import replace

from controller.api.seen import Seen
from controller.domain.observation import UNKNOWN_FIGURES, Figures, Observed
from tests.fakes.domain_values import P1, P2, session, view


def test_sessions_are_found_by_stream_on_every_proxy_that_lists_them():
    first = view(session(stream_id="s1"), session(stream_id="s2"), proxy_id=P1)
    second = view(session(stream_id="s1", generation=2), proxy_id=P2)
    seen = Seen(Observed((first, second)))
    assert [(one.view.proxy_id, one.session.generation) for one in seen.of("s1")] == [(P1, 1), (P2, 2)]
    assert seen.of("unknown") == []
    assert len(list(seen.sightings())) == 3


def test_what_is_seen_anew_replaces_what_was_seen_before():
    kept = view(session(stream_id="s1"), proxy_id=P1)
    gone = view(session(stream_id="s2"), proxy_id=P2)
    before = Seen(Observed((kept, gone)))
    after = Seen(Observed((kept, replace(gone, sessions=(session(stream_id="s3"),)))))
    assert [one.session.stream_id for one in after.sightings()] == ["s1", "s3"]
    assert after.of("s1") == before.of("s1")
    assert after.of("s2") == []
    assert len(after.of("s3")) == 1
    assert Seen(Observed(())).of("s1") == []


def test_figures_are_those_of_the_newest_list_even_where_its_sessions_are_the_same():
    first = view(session(stream_id="s1"), session(stream_id="s2"), figures=(Figures(bytes_in=1), Figures(bytes_in=2)))
    before = Seen(Observed((first,)))
    after = Seen(Observed((replace(first, figures=(Figures(bytes_in=3), Figures(bytes_in=4))),)))
    assert [one.figures.bytes_in for one in before.of("s2")] == [2]
    assert [one.figures.bytes_in for one in after.of("s2")] == [4]


def test_of_what_another_process_saw_there_are_no_figures():
    [found] = Seen(Observed((view(session(stream_id="s1")),))).of("s1")
    assert found.figures == UNKNOWN_FIGURES


def test_viewers_are_counted_over_all_outputs():
    assert Figures(viewers_ts=2, viewers_hls=3).viewers == 5
