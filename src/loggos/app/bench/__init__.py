"""Benchmarks side by side with a peer on this machine: `loggos bench coordination` and `loggos bench failover`.

Both systems meet the same load generator (a process of its own), the same settings, the same file system, in one run, in turn.
- `coordination`, `failover`: what is measured, `run(options) -> Report`;
- `loadgen`, `writers`: the processes that make load; `wire`, `histogram`: what they are built of;
- `peers`: a three-node Apache ZooKeeper and a three-node Loggos as processes; `links`: delay and cut between nodes;
- `report`, `probe`: tables, JSON, the record in bench/RESULTS.md, and facts of the machine.

Nothing here may know how Loggos works inside: it is started by its command line and spoken to by public protocols only.
"""
