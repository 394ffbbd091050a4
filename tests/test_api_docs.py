"""docs/api.md names every route and no other."""

from __future__ import annotations

import re
from pathlib import Path

from hub.auth import Role
from tests.test_api_roles import ROUTES

PAGE = Path("docs/api.md").read_text("utf-8")


def test_the_page_names_exactly_the_routes_there_are() -> None:
    told = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", PAGE, re.MULTILINE))
    assert told == {(method, route) for method, route, *_ in ROUTES} | {("GET", "/health")}


def test_the_page_says_what_each_role_may() -> None:
    assert [role for role in Role if f"\n| {role} | " not in PAGE] == []
