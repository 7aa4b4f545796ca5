"""Bridges to the frameworks an application is built with; each module is imported by itself."""
