"""A task, a tool, an expert and an agent for visenv, in a package of their own."""
