"""The real world: the ports of base/ports.py over this machine's clock, disk and network.

    loop.py            the event loop (uvloop where it can be had), thread switching, garbage collection
    world.py           HostWorld: all ports of one node, supervision of its tasks
    network.py         TCP and local sockets
    descriptors.py     how many files and connections this process may have open
    disk.py            the data directory
    journal_thread.py  the thread that makes a journal's batches durable

Nothing here knows a service. tests/ports/ holds it to the same rules as the simulated world.
"""
