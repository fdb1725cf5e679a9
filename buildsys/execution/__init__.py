"""What carries a plan out: store, state, tools, runner, packages, session."""
