"""The mathematics of capacity: what follows from rates, times and counts alone. Pure; numpy and scipy, no files, no clock.

    checks.py        what every formula demands of its arguments
    laws.py          operational laws and bounds: the first answer, which needs no fit
    queues.py        one station: M/M/c and its kin, Erlang's formulas, how many servers
    mva.py           networks of stations: exact and approximate mean value analysis, closed, open and mixed
    network.py       what an analysis of a network takes and gives
    convolution.py   closed networks whose stations have several servers, exactly
    usl.py           the universal scalability law
    availability.py  quorums and replicas over nodes, zones and regions

Must not know: measurements, prices, products.
"""
