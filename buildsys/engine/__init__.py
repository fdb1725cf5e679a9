"""What makes a plan happen: environments, store, state, runner, doit."""
