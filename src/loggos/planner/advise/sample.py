"""A sample application and a sample intent, as TOML: what the documentation shows and the tour plans for."""

from __future__ import annotations

from typing import Final

from loggos.planner.advise.needs import Needs, parse

SAMPLE_NEEDS: Final = """\
# A shop that takes orders in three regions: one worker at a time closes the day's books of a warehouse,
# prices are followed by every process, and orders flow to the warehouses as events.
name = "orders"
uses = ["locks", "election", "configuration", "events", "requests"]
consistency = "linearizable"   # or sequential, eventual
ordering = "key"               # total, key, none
access = "append"              # small, append, random, scan
mode = "online"                # batch, both
writes_per_s = 900
reads_per_s = 12000
item_kb = 2
data_gb = 40
clients = 300
latency_ms = 120
availability = 0.9995
survive = "region"             # nothing, node, zone
zones = 2
regions = ["frankfurt", "dublin", "virginia"]
home = "frankfurt"

[rtt_ms]
frankfurt-dublin = 40
frankfurt-virginia = 95
dublin-virginia = 80
"""

SAMPLE_INTENT: Final = """\
# The service that takes those orders, eighteen months ahead.
name = "orders"
horizon_months = 18
lead_time_days = 14
utilisation_max = 0.8

[objective]
latency_ms = 50
quantile = 0.99
availability = 0.9995

[load]
per_s = { value = 4200, low = 3900, high = 4600 }          # measured peak, with its interval
growth_per_year = { value = 0.4, low = 0.25, high = 0.6 }
request_kb = 2
response_kb = 6

[survive]
nodes = 1
zones = 1

[site]
zones = 3
node_availability = 0.995
zone_availability = 0.9999

[demand]
floor_ms = 2
memory_mb_per_request = 8

[demand.service]
mean_ms = { value = 6.0, low = 5.6, high = 6.5 }            # of one core, per request
cv2 = 1.4
arrival_cv2 = 1.2

[data]
size_gb = 300
growth_per_year = 0.5

[streams]
produce_mb_per_s = 25
consume_mb_per_s = 75
partition_produce_mb_per_s = 8
partition_consume_mb_per_s = 12
retention_hours = 6

[voters]

[[node]]
name = "small"
price_per_month = 45
cores = 4
memory_gb = 16
disk_gb = 500
disk_mb_per_s = 200
network_mb_per_s = 125

[[node]]
name = "large"
price_per_month = 160
cores = 16
memory_gb = 64
disk_gb = 2000
disk_mb_per_s = 400
network_mb_per_s = 625
"""


def sample_needs() -> Needs:
    """What the sample application needs."""
    return parse(SAMPLE_NEEDS, "sample needs")
