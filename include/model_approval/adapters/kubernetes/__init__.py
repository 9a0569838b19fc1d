"""Everything that talks to a Kubernetes API server, or is written for one.

`manifests`, `serving` and `diagnosis` are pure: they neither import the SDK nor open a connection.
"""
