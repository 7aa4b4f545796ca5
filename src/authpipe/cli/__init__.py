"""The ``authpipe`` command: administration, the processes, a development set-up and a demonstration."""
