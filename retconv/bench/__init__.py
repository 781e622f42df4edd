"""Benchmarks: commands that time contenders side by side in one run and report ratios. Never timed tests."""
