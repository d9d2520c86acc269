"""Speed, measured as ratios: `python -m tests.benchmarks`. Nothing here is a test."""
