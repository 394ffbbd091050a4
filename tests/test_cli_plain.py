"""What people write is shown as they wrote it."""

from __future__ import annotations

import pytest
from rich.table import Table

from hub.cli.plain import plain


def test_a_bracket_in_a_cause_is_shown_and_breaks_no_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("cause")
    table.add_row("leak [/x] on [red]floor[/red] 2 :warning:")
    plain().print(table)
    assert "leak [/x] on [red]floor[/red] 2 :warning:" in capsys.readouterr().out
