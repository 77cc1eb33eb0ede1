"""One conformance suite for the ports, on every world (rule 31)."""
