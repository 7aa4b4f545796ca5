"""Revisions: one Python file each, with the SQL beside it."""
