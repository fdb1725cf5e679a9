"""What this machine and buildsys.yaml say about a run: its store, its cluster, its lock."""
