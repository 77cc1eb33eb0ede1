"""Tests of node/: the parts of one member, members and whole cells in simulation, and the Log port near and far."""
