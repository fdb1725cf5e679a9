"""What people do with builds beside building: look, verify, carry, sync, clean up."""
