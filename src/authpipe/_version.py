"""The version of the distribution; read by the build and by `authpipe version`."""

__version__ = "0.1.0"
