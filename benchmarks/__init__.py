"""What Authpipe's speed is measured with: ``make bench``, or ``python -m benchmarks NAME``."""
