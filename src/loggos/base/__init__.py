"""The vocabulary every layer shares: ids, errors, limits, ports. Imports nothing else of Loggos."""
