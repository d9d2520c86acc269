"""The command line: one file a command, and `main` that holds them together."""
