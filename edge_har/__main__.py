"""`python -m edge_har` is `edge-har`."""

from edge_har.cli import main

if __name__ == "__main__":
    main()
