"""What the process tells about itself: logs and metrics, with secrets taken out first."""
