"""The SDK: asks an Authpipe server over HTTP and answers from memory.  Imports nothing of the server."""
