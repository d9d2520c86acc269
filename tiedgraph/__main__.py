"""`python -m tiedgraph` is the command `tiedgraph`."""

from tiedgraph.cli.main import main

main()
