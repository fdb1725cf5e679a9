"""doit's side: the task loader, tasks, the reporter."""
