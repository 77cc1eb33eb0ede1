"""A Report as a reply header, and back: the text form of ORCA's load reports, which Envoy and gRPC know too.

    endpoint-load-metrics: TEXT named_metrics.in_flight=3, named_metrics.latency_s=0.0125

`in_flight`: requests the server is working on, without the one whose answer carries the header. `latency_s`: seconds it expects a
request to take that arrives now. Metrics that others add to the header are skipped; the JSON form is read too. What cannot be
read is no report, never an error: a server that says nonsense is still a server.
Source: Open Request Cost Aggregation; Envoy's header `endpoint-load-metrics` with the prefixes TEXT and JSON, and the names of
`OrcaLoadReport`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from loggos.balance.types import Report
from loggos.base.limits import LOAD_HEADER_BYTES_MAX

HEADER: Final = "endpoint-load-metrics"
PROBE_PATH: Final = "/-/load"  # what the middleware answers itself, unless told otherwise
_PREFIX: Final = "named_metrics."
_IN_FLIGHT: Final = "in_flight"
_LATENCY: Final = "latency_s"


def render_report(report: Report) -> str:
    """The header's value."""
    return f"TEXT {_PREFIX}{_IN_FLIGHT}={report.in_flight}, {_PREFIX}{_LATENCY}={report.latency_s:.6g}"


def parse_report(value: str | None) -> Report | None:
    """The Report in a header's value; None where there is none that can be used (both metrics, finite, not negative)."""
    if value is None or len(value) > LOAD_HEADER_BYTES_MAX:
        return None
    form, _, rest = value.strip().partition(" ")
    metrics = _from_text(rest) if form == "TEXT" else _from_json(rest) if form == "JSON" else {}
    in_flight, latency_s = metrics.get(_IN_FLIGHT), metrics.get(_LATENCY)
    if in_flight is None or latency_s is None:
        return None
    if not (math.isfinite(in_flight) and math.isfinite(latency_s)) or in_flight < 0 or latency_s < 0:
        return None
    return Report(int(in_flight), latency_s)


def _from_text(rest: str) -> dict[str, float]:
    """`named_metrics.a=1, named_metrics.b=2`."""
    metrics = {}
    for pair in rest.split(","):
        name, _, number = pair.strip().partition("=")
        if name.startswith(_PREFIX):
            try:
                metrics[name.removeprefix(_PREFIX)] = float(number)
            except ValueError:
                continue
    return metrics


def _from_json(rest: str) -> dict[str, float]:
    """`{"named_metrics": {"a": 1, "b": 2}}`."""
    try:
        document = json.loads(rest)
    except (ValueError, RecursionError):
        return {}
    named = document.get("named_metrics") if isinstance(document, Mapping) else None
    if not isinstance(named, Mapping):
        return {}
    numbers = {}
    for name, value in named.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                numbers[name] = float(value)
            except OverflowError:
                continue
    return numbers
