"""Devices seen through a few stopwatch samples."""
