"""The report's data, and its rendering as pages, charts and Markdown."""
