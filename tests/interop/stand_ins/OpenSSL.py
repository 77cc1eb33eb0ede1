"""Stands in for pyOpenSSL, which kazoo's test harness imports for its TLS certificates only: TLS is left out here."""
