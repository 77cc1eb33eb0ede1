"""Durability over the Disk port: the journal, snapshots, and the identity of the data directory.

What entries mean is not known here. Start with `journal.open_journal`, `snapshots.SnapshotStore` and `identity.load`; the bytes
on disk are described in `records.py` (journal) and `snapshots.py`.
"""
