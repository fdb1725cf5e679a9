"""doit's side: the task loader and the reporter."""
