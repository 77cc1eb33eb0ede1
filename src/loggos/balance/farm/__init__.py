"""A simulated farm: unequal servers that fail, balancers that see only what they may, and the real policies between them.

    scenario.py     servers, failures, load, probes: what is simulated, checked
    gauge.py        what a simulated server knows of its own load
    bare.py         what is asked of a balancer, and one that is a policy alone
    farm.py         `run`: a scenario under a policy
    result.py       latencies with their intervals, utilisation, what failed
    supermarket.py  one balancer and very many equal servers, in a loop of its own; its theory

Time and chance are arguments: a run is a function of scenario, policy and streams, and two policies meet the same requests.
Must not know: real clocks, sockets, which policy it drives.
"""
