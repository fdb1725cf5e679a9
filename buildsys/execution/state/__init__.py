"""Decides what is up to date: action keys, digests of inputs and code, the database,
buildsys.lock.
"""
