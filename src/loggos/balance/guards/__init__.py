"""Whether a request may be sent, sent again, or sent twice. Pure: times are arguments, in seconds of any monotonic clock.

    budget.py        retries: a share of the requests, and a few per second
    breaker.py       closed, open, half open
    hedging.py       when a second copy is worth sending, within a budget
    concurrency.py   how many requests may be on their way at once, learnt from latency
    deadline.py      the time by which an answer must be there, carried down
"""
