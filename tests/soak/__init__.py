"""A soak: `edge-har run` for an hour on cameras, a broker, a web server and disks that all fail; `make
soak`.
"""
