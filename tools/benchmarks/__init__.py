"""What tools/benchmark.py measures, each a `run()` that prints its table."""
