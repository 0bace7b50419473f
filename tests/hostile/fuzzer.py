"""A fuzzer that believes an OpenAPI document (schemathesis), and says where the program does otherwise."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Collection, Mapping
from typing import Any


def fuzz(document: Mapping[str, Any], url: str, headers: Mapping[str, str], real: Mapping[str, Mapping[str, str]], *,
         leave_out: Collection[str] = (), may_say: Collection[int] = ()) -> tuple[list[str], int]:
    """Blocks: runs beside the server's loop. Some examples (six, or HOSTILE_EXAMPLES) of every operation but the GETs that are left
    out, with good data and with bad; every other one has the path parameters that there are (`real`, by the path they belong to).
    `may_say`: statuses from 500 on that are the API's own words. What was found, and the number of calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # the fuzzer's own dependencies
        import schemathesis
        from hypothesis import HealthCheck, Phase, given, settings
        from schemathesis import GenerationMode
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        )

        def no_failure_of_ours(context: Any, response: Any, case: Any) -> None:
            if response.status_code >= 500 and response.status_code not in may_say:
                raise AssertionError(f"{response.status_code}: {response.text[:300]}")

        checks = [no_failure_of_ours, content_type_conformance, response_schema_conformance, status_code_conformance]
        examples = int(os.environ.get("HOSTILE_EXAMPLES", "6"))
        schema = schemathesis.openapi.from_dict(dict(document))
        found: list[str] = []
        calls = itertools.count()
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path in leave_out and operation.method == "get":
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                          phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
                @given(case=operation.as_strategy(generation_mode=mode))
                def one(case: Any) -> None:
                    known = [named for path, named in real.items() if case.operation.path.startswith(path)]
                    if next(calls) % 2 and known and case.operation.method != "delete":
                        case.path_parameters = dict(known[0])
                    case.call_and_validate(base_url=url, headers=dict(headers), checks=checks, timeout=10)

                try:
                    one()
                except BaseException as error:
                    if "Cannot generate" not in str(error) and "Unsatisfiable" not in type(error).__name__:
                        found.append(f"{operation.label} {mode}: {error}")
        return found, next(calls)
