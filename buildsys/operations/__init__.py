"""Commands beside building: verify, predict, fit, flash, compare, bundle, import, inspect, sync, gc, doctor."""
