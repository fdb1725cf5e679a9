"""What people do beside building: verify, predict, fit, flash, bundle, inspect, sync, clean up."""
