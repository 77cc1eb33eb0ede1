"""A discrete-event kernel: virtual time, one queue of events, stations that serve. Small, deterministic, pure.

What drives policies, schedulers and queueing models on synthetic or recorded load, with failures. It knows neither of them.
"""
