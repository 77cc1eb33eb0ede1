"""The Log port over a local socket: `server.py` in the cell's process, `client.py` (`RemoteLog`) in another one."""
