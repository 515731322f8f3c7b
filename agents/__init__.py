"""Agents that ship with visenv, each a small package that imports the core's public modules only."""
