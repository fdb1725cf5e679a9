"""build/report: collected from what is recorded, compared with baselines, rendered by a step."""
