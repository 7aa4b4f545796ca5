"""What the process tells about itself: logs, metrics and traces, with secrets taken out first."""
