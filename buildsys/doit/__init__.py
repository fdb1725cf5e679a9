"""The integration with doit: task loader, tasks, reporter."""
