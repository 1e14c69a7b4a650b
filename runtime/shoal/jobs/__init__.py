"""Submitted jobs: their drivers' processes on the head, their packages, and the client that submits them."""
