"""Clients of running heads. No reconcile awaits anything in here: views come out, commands go in."""
