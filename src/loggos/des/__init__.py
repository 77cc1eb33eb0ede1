"""A discrete-event kernel: virtual time, one queue of events, stations that serve. Small, deterministic, pure.

What drives policies, schedulers and queueing models on synthetic or recorded load, with failures. It knows neither of them.

    kernel.py     virtual seconds and the queue of events
    dice.py       the chance that is handed in, and its streams
    laws.py       how long services, gaps or anything else last: laws given by their mean and squared coefficient of variation
    arrivals.py   when things arrive: Poisson, renewal, in batches, at a changing rate, as recorded
    station.py    stations of equal servers: first come first served, or processor sharing; capacity, speed, failures
    statistics.py exact quantiles, the end of the warm-up, intervals
"""
