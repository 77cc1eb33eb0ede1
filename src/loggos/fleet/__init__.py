"""Resource management: what runs where.

    scheduler/    state and events in, a plan with its reasons out; pure
    whatif/       a recorded trace replayed under any policy, and what it shows

Must not know: the log, other services.
"""
