"""build/report: collects recorded results, compares them with baselines, and has a step render
them.
"""
