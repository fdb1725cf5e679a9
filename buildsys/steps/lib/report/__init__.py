"""The report as values, and its rendering as pages, charts and Markdown."""
