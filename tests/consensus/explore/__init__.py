"""The explicit-state checker: every interleaving of small instances, over the real engine."""
