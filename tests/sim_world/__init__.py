"""The simulated world tested for what it promises: determinism, and faults that do what they say."""
