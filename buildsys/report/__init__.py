"""build/report: collected from recorded results, compared with baselines, rendered by a step."""
