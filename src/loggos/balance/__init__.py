"""Load balancing: which end point gets the next request.

    types.py      end points, reports, the seam of a policy
    policies/     who is chosen; pure
    filters/      who may be chosen: zone, panic, slow start, outliers; pure
    guards/       whether a request may be sent, again, or twice: budgets, breakers, hedging, limits, deadlines; pure
    farm/         a simulated farm of servers that the same policies serve, with published theory as its oracle
    pool.py       `Pool`: the same policies for asyncio and for threads; adapters/ for clients, middleware/ for servers

Must not know: the log, other services.
"""
