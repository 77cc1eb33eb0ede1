"""Coordination, after Chubby and ZooKeeper: a replicated tree, sessions, watches, locks. `zookeeper/` is its wire protocol."""
