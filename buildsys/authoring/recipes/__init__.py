"""The recipe language: recipes, variants, builds, gates, and the checks before any work.

Messages of `check` are worded where their rule is: a wrong key or value in `syntax.validation`, a
path or address in `path_checks`, which builds exist in `loader`, `variants` and `reserved_names`;
board, firmware and weights in `assembly`; values that contradict each other in `checks`,
`export_batch` and `gates`; the source in `sources`, `given_checks` and `given_operators`, the
firmware in `firmware_checks`, what is no mistake in `warnings`. The data's are in `datasets`, a
target's in `targets`.
"""
