"""The simulated world: the ports of base/ports.py over virtual time, a faulty network and faulty disks, from one seed.

    loop.py       the event loop: a virtual clock, no selector, hosts whose callbacks can be dropped or held back
    world.py      SimWorld and SimHost: what scenarios use
    network.py    links, partitions, listeners, connections; transport.py: one end of a connection
    disk.py       the Disk port with faults; inodes.py: which bytes and names survive a power cut
    trace.py      the running hash of all that happened, counters, recorded lines
    nemesis.py    schedules of faults from a seed, to be replayed and shrunk
    bootstrap.py  interposes time and randomness for third-party clients, only while a world is entered

Same seed, same program: same trace hash. Nothing here knows a service.
"""
