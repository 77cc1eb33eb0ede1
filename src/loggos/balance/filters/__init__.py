"""Who may be chosen now, and with which weight. Pure and composable: end points and a time in, end points out.

    filter.py       the seam, and `Chain`
    health.py       marks of the owner; `Panic`: with too few healthy end points, health is ignored
    outliers.py     end points that fail more than others are left out for a while
    breakers.py     a circuit breaker for each end point
    slow_start.py   end points that are new get little at first
    zone.py         the local zone first, the rest by capacity
"""
