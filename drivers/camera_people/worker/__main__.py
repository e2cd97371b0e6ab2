"""`python -m drivers.camera_people.worker FD`: started by the driver, with its socket's number; not by hand."""

import sys

from drivers.camera_people.worker.serving import work

if __name__ == "__main__":
    work(int(sys.argv[1]))
