"""The command line. Exit codes: 0 done, 1 a check or a node failed, 2 wrong usage or configuration, 3 the cluster
cannot be reached."""
