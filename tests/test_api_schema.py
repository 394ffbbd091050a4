"""Schemathesis over the OpenAPI document: no answer is a 5xx, and each is as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api_site import api_in_a_thread
from tests.test_api_roles import ROUTES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
]
UNFIT = {"/v1/live", "/v1/devices/{device}/trace", "/v1/openapi.json"}  # streams; the document
OPERATIONS = sorted({(method, path) for method, path, *_ in ROUTES if path not in UNFIT})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    with api_in_a_thread(tmp_path_factory.mktemp("api")) as (url, key):
        headers = {"Authorization": f"Bearer {key}"}
        yield schemathesis.openapi.from_url(f"{url}/v1/openapi.json", headers=headers), headers


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_at_all_breaks_the_hub(
    served: tuple[Any, dict[str, str]], method: str, path: str, mode: GenerationMode
) -> None:
    schema, headers = served
    operation = schema[path][method]

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()
