"""The jobs that the command line runs: simulate, train, test, answer, explain."""
