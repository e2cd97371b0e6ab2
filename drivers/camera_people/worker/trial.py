"""`python -m drivers.camera_people.worker.trial remote|local`: give up what a worker does, say what held, and end."""

import sys

from drivers.camera_people.assignment import FILE, Assignment
from drivers.camera_people.measures import encode_greeting
from drivers.camera_people.worker.confinement import before_libraries, begin, confine

if __name__ == "__main__":
    capture = FILE if sys.argv[1] == "local" else "rtsp"
    tried = Assignment(url="rtsp://[::1]/", capture=capture, path="/dev/null", memory_mb=1024)
    granted = begin() | before_libraries(tried) | confine(tried)
    sys.stdout.buffer.write(encode_greeting(granted))
