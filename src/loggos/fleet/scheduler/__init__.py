"""Who gets what, where, and why: state and events in, a plan of typed decisions with their reasons out.

    values.py        nodes, requests, jobs, queues: what people write
    events.py        what happens to a fleet            plan.py       what is decided about it, and the reasons
    bins.py          what is free on one node           shapes.py     tasks of equal request and equal demands on a node
    fleet.py         the state: events change it, decisions are carried out on it
    candidates.py    the cheapest node per shape, repaired only where something changed
    scores/          what a placement costs: fits, dot product, packing, fragmentation
    topology.py      affinity and spread                fairness.py   queues: quotas and dominant shares
    backfill.py      what is promised to the head       preemption.py who must go, as few as can be
    gangs.py         all or nothing                     rebalance.py  moves under a disruption budget
    explain.py       why pending, why here              scheduler.py  one round of all this: `Scheduler.step`

Pure: no clock, no chance, no input or output. The same events give the same plans, bit for bit.
"""
