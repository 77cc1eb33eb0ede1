"""What a server says of its own load: middleware for ASGI and WSGI applications.

    meter.py      requests in flight, and how long requests take at that level; pure
    header.py     a Report as the reply header `endpoint-load-metrics` (ORCA), and back; pure
    asgi.py       `ReportLoadASGI`: measures, adds the header, answers probes without entering the application
    wsgi.py       `ReportLoadWSGI`: the same for WSGI

The adapters of a pool read the header with every answer; a pool's prober asks the probe path. Must not know: pools, policies.
"""

from __future__ import annotations

from loggos.balance.middleware.asgi import ReportLoadASGI
from loggos.balance.middleware.header import HEADER, PROBE_PATH, parse_report, render_report
from loggos.balance.middleware.meter import LoadMeter
from loggos.balance.middleware.wsgi import ReportLoadWSGI

__all__ = ["HEADER", "PROBE_PATH", "LoadMeter", "ReportLoadASGI", "ReportLoadWSGI", "parse_report", "render_report"]
