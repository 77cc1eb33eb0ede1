"""From an intent to a plan: how many nodes of which type, voters, partitions and replicas, what they cost, and why.

    reading.py     TOML to records; what is wrong is named by file, line and key
    intent.py      what a user wants, tolerates, has measured and could buy
    demand.py      how much load will come: low, middle and high
    capacity.py    how much load one node carries within the objective, and what latency that gives
    survival.py    what is left after losses, and how likely that is
    quorum.py      voters and replicas over zones and regions
    placement.py   partitions over nodes and zones; few moves when the nodes change
    sizing.py      the sizing rules of well-known systems
    options.py     one node type to the number of nodes that every requirement asks for
    make.py        all of it: a plan, or a refusal that says what nearly does
    crosschecks.py what other rules say of the plan
    sensitivity.py how the plan changes when one input does
    words.py       numbers as they are written

Pure: text and numbers in, records out.
"""
