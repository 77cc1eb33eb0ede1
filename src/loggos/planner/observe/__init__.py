"""Measurements in: what was recorded elsewhere becomes `Series`, and everything odd about it becomes a `Finding`.

findings.py      findings, and the `Observation` that every reader gives
moments.py       times as people and machines write them: epoch, ISO 8601, zones, daylight saving
gather.py        points in any order to ordered series; what all readers share
textfile.py      lines of a file, of bounded length                                                   (shell)
csvfile.py       CSV: header, delimiter, time column and units detected or named
exposition.py    Prometheus and OpenMetrics text, one scrape or many
api.py           answers of the Prometheus HTTP API, and what `promtool query` prints
prometheus.py    the Prometheus HTTP API itself                                                       (shell)
clean.py         counters to rates, gaps, regular grids, filling; pure
derive.py        arrival rates, utilisation, concurrency, latency quantiles, variation; pure
"""
