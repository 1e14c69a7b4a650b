"""Pure decisions: an observed world goes in, a plan and a status come out. No I/O, no clock."""
