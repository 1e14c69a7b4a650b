"""`python -m e2e.cluster`: see cli.py."""

from e2e.cluster.cli import main

raise SystemExit(main())
