"""Stands in for pyjks, which kazoo's test harness imports for its TLS certificates only: TLS is left out here."""
