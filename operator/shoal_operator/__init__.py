"""The operator: turns Compute objects into pods, and waiting work into workers."""
