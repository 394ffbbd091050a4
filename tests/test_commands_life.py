"""The pure machine: every sequence of events keeps its promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import Answer, Repeat, State
from hub.commands.life import (
    ATTEMPTS_MAX,
    Answered,
    AnsweredLate,
    Denied,
    Event,
    Life,
    Over,
    Sent,
    Shown,
    after,
    may_try_again,
)

ANSWERS = st.sampled_from(Answer)
EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(
        st.just(Sent()),
        st.builds(AnsweredLate, answer=ANSWERS),
        st.just(Shown()),
        st.builds(Denied, reason=st.just("loop_safety is true")),
        st.builds(Over, shown=st.sampled_from([True, False, None]), certain=st.booleans()),
    ),
    max_size=12,
)
REPEATS = st.sampled_from(Repeat)


def lived(events: list[Event], repeat: Repeat = Repeat.VERIFY) -> list[Life]:
    lives = [Life()]
    for event in events:
        lives.append(after(lives[-1], event, repeat))
    return lives


def tried(*answers: Answer, repeat: Repeat = Repeat.VERIFY) -> Life:
    events: list[Event] = []
    for answer in answers:
        events += [Sent(), Answered(answer=answer)]
    return lived(events, repeat)[-1]


@given(EVENTS, REPEATS)
def test_nothing_leaves_a_final_state(events: list[Event], repeat: Repeat) -> None:
    lives = lived(events, repeat)
    ends = [life for life in lives if life.state.final]
    assert all(life == ends[0] for life in ends)


@given(st.lists(ANSWERS, max_size=8), EVENTS, REPEATS)
def test_what_may_have_reached_the_device_is_never_called_expired_or_refused(
    answers: list[Answer], events: list[Event], repeat: Repeat
) -> None:
    life = tried(*answers, repeat=repeat)
    for event in events:
        life = after(life, event, repeat)
    assert life.doubts == 0 or life.state not in (State.EXPIRED, State.REFUSED, State.QUEUED)


@given(st.lists(ANSWERS, max_size=8), EVENTS, REPEATS)
def test_what_certainly_did_not_go_is_never_called_confirmed_failed_or_unknown(
    answers: list[Answer], events: list[Event], repeat: Repeat
) -> None:
    life = tried(*answers, repeat=repeat)
    for event in events:
        life = after(life, event, repeat)
    done = (State.CONFIRMED, State.FAILED, State.UNKNOWN, State.ACKNOWLEDGED)
    assert life.doubts > 0 or life.state not in done


@given(st.lists(ANSWERS, max_size=8), st.sampled_from([True, False, None]))
def test_never_is_tried_again_only_when_no_try_can_have_gone_through(
    answers: list[Answer], shown: bool | None
) -> None:
    life = tried(*answers, repeat=Repeat.NEVER)
    assert not may_try_again(life, Repeat.NEVER, shown) or life.doubts == 0


@pytest.mark.parametrize(
    ("repeat", "shown", "again"),
    [
        (Repeat.VERIFY, False, True),
        (Repeat.VERIFY, None, False),
        (Repeat.SAFE, False, True),
        (Repeat.SAFE, None, True),
        (Repeat.NEVER, False, False),
        (Repeat.NEVER, None, False),
    ],
)
def test_after_silence_the_policy_decides(repeat: Repeat, shown: bool | None, again: bool) -> None:
    assert may_try_again(tried(Answer.SILENT, repeat=repeat), repeat, shown) is again


def test_tries_that_may_have_gone_through_are_bounded() -> None:
    life = tried(*[Answer.SILENT] * ATTEMPTS_MAX)
    assert not may_try_again(life, Repeat.VERIFY, False)


def test_a_refusal_ends_it_unless_an_earlier_try_may_have_done_it() -> None:
    assert tried(Answer.REFUSED).state is State.REFUSED
    assert tried(Answer.SILENT, Answer.REFUSED).state is State.SENT
    assert tried(Answer.NOT_SENT, Answer.REFUSED).state is State.REFUSED


def test_what_was_certainly_not_sent_waits_again() -> None:
    assert tried(Answer.NOT_SENT).state is State.QUEUED
    assert tried(Answer.SILENT, Answer.NOT_SENT).state is State.SENT


def test_a_late_acknowledgement_counts_and_a_late_refusal_only_of_the_only_try() -> None:
    once, twice = tried(Answer.SILENT), tried(Answer.SILENT, Answer.SILENT)
    late_no = AnsweredLate(answer=Answer.REFUSED)
    late_yes = AnsweredLate(answer=Answer.ACKNOWLEDGED)
    assert after(once, late_yes, Repeat.NEVER).state is State.ACKNOWLEDGED
    assert after(once, late_no, Repeat.NEVER).state is State.REFUSED
    assert after(twice, late_no, Repeat.VERIFY).state is State.SENT


def test_only_a_look_after_the_deadline_calls_it_failed_and_never_for_never() -> None:
    life = tried(Answer.ACKNOWLEDGED)
    done = Over(shown=False, certain=True)
    assert after(life, done, Repeat.VERIFY).state is State.FAILED
    assert after(life, done, Repeat.NEVER).state is State.UNKNOWN
    assert after(life, Over(shown=False, certain=False), Repeat.VERIFY).state is State.UNKNOWN
    assert after(life, Over(shown=None, certain=True), Repeat.VERIFY).state is State.UNKNOWN
