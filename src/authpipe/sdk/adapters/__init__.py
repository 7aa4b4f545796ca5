"""Bridges from the SDK to the frameworks an application is built with."""
