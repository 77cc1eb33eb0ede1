"""Whole clusters in the simulated world: workload, nemesis, checks, and the explorer behind `loggos sim`.

- `client`     a ZooKeeper client on raw asyncio that records all it sees
- `recorder`   the log as the nodes applied it, compared between nodes
- `cluster`    nodes on simulated hosts, built by the composition root
- `workload`   what clients do
- `scenario`   one seed: chaos, then healing, then every check
- `explore`    many seeds, each twice; replay and shrinking
- `main`       the command line
"""
