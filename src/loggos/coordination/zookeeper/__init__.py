"""The ZooKeeper wire protocol: codec (pure), and the front door that serves it."""
