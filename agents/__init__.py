"""Agents that ship with visenv, each a small package that uses only the public surface."""
