"""Bills in files: whole, or refused with the line and what would be right."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from hub.campus.reconcile.bill import BillError, read_bill
from hub.campus.reconcile.compare import Line, LineState
from hub.campus.reconcile.days import day_of

ZONE = ZoneInfo("Asia/Shanghai")
DAY = day_of(date(2026, 11, 22), ZONE)
HEAD = "number,amount_yuan,state,paid\n"
GOOD = "T1,50.00,paid,2026-11-22 18:01:12\n"


def test_a_file_is_read_by_its_headers_in_yuan_or_fen_local_or_utc() -> None:
    paid_ms = DAY.start_ms + 18 * 3_600_000 + 72_000
    line = Line(number="T1", amount_fen=5000, state=LineState.PAID, paid_ms=paid_ms)
    same = f"\ufeffpaid_ms,state,amount_fen,number\r\n{paid_ms},paid,5000,T1\r\n"
    assert read_bill("pay", DAY, HEAD + GOOD, ZONE).lines == (line,)
    assert read_bill("pay", DAY, same, ZONE).lines == (line,)


def test_the_order_of_lines_does_not_matter_and_an_empty_bill_is_one() -> None:
    other = "T2,1,refunded,2026-11-20 00:00:00\n"
    bills = [read_bill("pay", DAY, HEAD + text, ZONE) for text in (GOOD + other, other + GOOD)]
    assert bills[0].digest == bills[1].digest
    assert read_bill("pay", DAY, HEAD, ZONE).lines == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the headers are ''; write number, state"),
        ("number,amount_yuan,state\n", "line 1: the headers are"),
        ("number,amount_yuan,amount_fen,state,paid\n", "line 1: the headers are"),
        (HEAD + GOOD + "T2,1.00,paid\n", "line 3: 3 cells, not 4"),
        (HEAD + "T 1,1.00,paid,2026-11-22 18:01:12\n", "line 2: number 'T 1'; write 0-9"),
        (HEAD + "T1,1.005,paid,2026-11-22 18:01:12\n", "line 2: amount_yuan '1.005'; write yuan"),
        (HEAD + "T1,NaN,paid,2026-11-22 18:01:12\n", "line 2: amount_yuan 'NaN'; write yuan"),
        (HEAD + "T1,-1,paid,2026-11-22 18:01:12\n", "line 2: amount_yuan '-1'; write yuan"),
        (HEAD + "T1,0,paid,2026-11-22 18:01:12\n", "line 2: 0 fen; write 1 to"),
        (
            HEAD + "T1,1.00,PAID,2026-11-22 18:01:12\n",
            "line 2: state 'PAID'; write paid or refunded",
        ),
        (HEAD + "T1,1.00,paid,22.11.2026\n", "line 2: paid '22.11.2026'; write the site's time"),
        (HEAD + "T1,1.00,paid,2026-11-21 23:59:59\n", "line 2: T1 was not paid on 2026-11-22"),
        (HEAD + "T1,1.00,refunded,2026-11-23 00:00:00\n", "line 2: T1 was not paid on 2026-11-22"),
        (HEAD + GOOD + GOOD, "line 3: T1 stands on line 2 too; keep one"),
        (HEAD + 'T1,"1.00,paid\n', "line 2: unexpected end of data"),
        ("number,amount_fen,state,paid_ms\nT1,5e3,paid,1\n", "amount_fen '5e3'; write a whole"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(BillError) as caught:
        read_bill("pay", DAY, text, ZONE)
    assert said in str(caught.value)
