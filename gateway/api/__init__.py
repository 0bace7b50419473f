"""The native HTTP API: one file a resource. It translates; services decide."""
