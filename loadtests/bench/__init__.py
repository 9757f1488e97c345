"""Throughput of the guard next to its peers, all measured in one run. `python -m loadtests.bench --help`."""
