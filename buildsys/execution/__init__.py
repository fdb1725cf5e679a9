"""What makes a plan happen: a store, a state, tools, a runner, packages, one session, doit."""
