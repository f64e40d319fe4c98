from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.alerts import message
from tools.benchmark.accuracy.alert_score import AlertScore, Event, Incident, incidents_of, score

if TYPE_CHECKING:
    from agent.messages.alert import Alert

DAY = 86400.0
# Scored from 1,000 on, for one day, a row a minute.
BEGIN, END, INTERVAL = 1000.0, 1000.0 + DAY, 60.0
EVENT = Event(10_000.0, 11_000.0, "k", ("a", "b"))


def scored(alerts: list[Alert], *events: Event) -> AlertScore:
    return score(incidents_of(alerts, END), events or (EVENT,), BEGIN, END, INTERVAL)


def lasting(begin: float, end: float, channel: str = "a", name: str = "i", reason: str = "recovered") -> list[Alert]:
    return [message(name, "open", begin, channel=channel), message(name, "close", end, reason=reason)]


class TestTold:
    def test_an_alert_during_an_event_tells_it_with_its_delay(self) -> None:
        found = scored(lasting(10_300.0, 11_200.0))
        assert (found.told, found.events, found.delays_s, found.false) == ({"k": 1}, {"k": 1}, [300.0], 0)
        assert found.figures()["told %"] == 100.0
        assert found.told_by_kind() == {"k": 100.0}

    def test_nothing_sent_tells_nothing(self) -> None:
        found = scored([])
        assert (found.told, found.delays_s, found.open_shares) == ({}, [], [0.0])
        assert found.figures()["told %"] == found.figures()["false a day"] == 0.0
        assert np.isnan(found.figures()["median delay s"])

    @pytest.mark.parametrize(("at", "told"), [(9879.0, False), (9880.0, True), (11_180.0, True), (11_181.0, False)])
    def test_two_minutes_before_and_three_rows_after_still_count(self, at: float, *, told: bool) -> None:
        found = scored(lasting(at, at + 0.5))
        assert bool(found.told) == told
        assert found.false == (not told)
        assert found.delays_s == ([max(at - 10_000.0, 0.0)] if told else [])

    def test_a_tenth_of_a_long_event_counts_before_it(self) -> None:
        long = Event(10_000.0, 20_000.0)
        assert scored(lasting(9000.0, 9001.0), long).told == {"": 1}
        assert scored(lasting(8999.0, 8999.5), long).told == {}
        assert scored(lasting(9000.0, 9001.0), long).told_by_kind() == {}

    def test_an_update_tells_an_event_if_it_says_something_new(self) -> None:
        before = message("i", "open", 5000.0, channel="z")
        for reason, told in (("joined", 1), ("severity", 1), ("limit", 1), ("revised", 0), ("acknowledged", 0)):
            found = scored([before, message("i", "update", 10_100.0, reason=reason, channel="a")])
            assert len(found.delays_s) == told
            assert found.named_right == told

    def test_a_close_tells_nothing(self) -> None:
        assert scored([message("i", "open", 5000.0), message("i", "close", 10_100.0, reason="recovered")]).told == {}


class TestOpen:
    def test_overlapping_incidents_cover_an_event_once(self) -> None:
        alerts = (
            lasting(10_000.0, 10_400.0) + lasting(10_200.0, 10_600.0, name="j") + lasting(10_900.0, 12_000.0, name="k")
        )
        assert scored(alerts).open_shares == [pytest.approx(0.7)]

    def test_one_within_another_adds_nothing(self) -> None:
        alerts = lasting(9000.0, 10_800.0) + lasting(10_100.0, 10_200.0, name="j")
        assert scored(alerts).open_shares == [pytest.approx(0.8)]

    def test_an_incident_that_never_closes_is_open_until_the_end(self) -> None:
        assert scored([message("i", "open", 10_500.0)]).open_shares == [0.5]

    def test_an_event_of_a_single_row_is_open_or_not(self) -> None:
        moment = Event(10_000.0, 10_000.0)
        assert scored(lasting(9990.0, 10_010.0), moment).open_shares == [1.0]
        assert scored(lasting(10_001.0, 10_010.0), moment).open_shares == [0.0]


class TestFalse:
    def test_an_incident_that_overlaps_no_event_is_false(self) -> None:
        found = scored(
            lasting(5000.0, 6000.0) + lasting(50_000.0, 50_001.0, name="j") + lasting(10_500.0, 12_000.0, name="k")
        )
        assert found.false == 2
        assert found.figures()["false a day"] == 2.0

    def test_one_that_opened_long_before_and_lasts_into_an_event_is_not(self) -> None:
        assert scored(lasting(5000.0, 10_500.0)).false == 0

    def test_what_opened_before_the_begin_does_not_count(self) -> None:
        found = scored(lasting(900.0, 10_500.0))
        assert (found.false, found.openings, found.alerted, found.told) == (0, 0, 0, {})
        assert found.open_shares == [0.5]  # but people see it open
        assert scored(lasting(500.0, 700.0)).false == 0

    def test_an_event_that_began_before_the_begin_excuses_alerts_and_is_not_counted(self) -> None:
        found = scored(lasting(1500.0, 1600.0), Event(500.0, 2000.0))
        assert (found.false, found.events) == (0, {})


class TestTruth:
    def test_a_recovery_while_the_event_goes_on_is_a_false_all_clear(self) -> None:
        for closed, reason, cleared in (
            (10_500.0, "recovered", 1),
            (10_500.0, "accepted", 0),
            (10_819.0, "recovered", 1),
            (10_820.0, "recovered", 0),  # within three rows of the end
        ):
            found = scored(lasting(10_100.0, closed, reason=reason))
            assert (found.alerted, found.cleared) == (1, cleared)
        assert scored([message("i", "open", 10_100.0)]).figures()["false all-clear %"] == 0.0

    def test_an_opening_contradicts_itself_or_not(self) -> None:
        openings = [
            message("in", "open", 10_100.0, value=0.5),
            message("edge", "open", 10_100.0, value=1.0),
            message("out", "open", 10_100.0, value=1.5),
            message("half", "open", 10_100.0, value=-9.0, normal=(None, 1.0)),
            message("below", "open", 10_100.0, value=-9.0, normal=(0.0, None)),
            message("gone", "open", 10_100.0, value=None),
            message("limit", "open", 10_100.0, value=0.5, limit=0.4),
        ]
        assert [each.outside for each in incidents_of(openings, END)] == [False, False, True, False, True, True, True]
        assert scored(openings).figures()["outside its range %"] == pytest.approx(400 / 7)

    def test_the_first_alert_names_an_affected_channel_or_not(self) -> None:
        found = scored(lasting(10_100.0, 10_200.0, "z") + lasting(10_150.0, 10_250.0, "a", "j"))
        assert (found.named, found.named_right) == (1, 0)
        assert scored(lasting(10_100.0, 10_200.0, "b")).figures()["named right %"] == 100.0

    def test_without_known_channels_no_name_is_right_or_wrong(self) -> None:
        assert np.isnan(scored(lasting(10_100.0, 10_200.0), Event(10_000.0, 11_000.0)).figures()["named right %"])
        unnamed = [Incident(10_100.0, 10_200.0, ((10_100.0, ""),))]
        found = score(unnamed, [EVENT], BEGIN, END, INTERVAL)
        assert (found.events_told, found.named, found.openings) == (1, 0, 0)


def test_counts_of_recordings_add_up() -> None:
    total = AlertScore()
    total.add(scored(lasting(10_100.0, 10_200.0)))
    total.add(scored(lasting(5000.0, 6000.0), EVENT, Event(20_000.0, 21_000.0, "other")))
    assert total.events == {"k": 2, "other": 1}
    assert total.told == {"k": 1}
    assert (total.days, total.false, total.delays_s) == (2.0, 1, [100.0])
    assert total.figures()["events"] == 3.0
    assert total.figures()["false a day"] == 0.5


def test_an_empty_score_has_no_rates() -> None:
    assert np.isnan(AlertScore().figures()["false a day"])
