"""The doit side: task loader, tasks, reporter."""
