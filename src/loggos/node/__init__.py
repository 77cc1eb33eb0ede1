"""One member of the cell: the replica and what it drives. Knows consensus, storage and ports; knows no service by name."""
