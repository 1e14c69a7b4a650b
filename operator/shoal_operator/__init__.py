"""The operator: turns Compute objects into pods, and waiting work into workers."""

__version__ = "0.1.0"
