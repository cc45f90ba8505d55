"""An RTSP camera on loopback, for the system's Python with GStreamer:
`rtsp_server.py PATTERN RATE SIZES [interlaced]` prints its URL.

SIZES: one WIDTHxHEIGHT, or several with commas between:
each follows after a second, over and over, and is printed.
"""

import itertools
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
pattern, rate, sizes = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
form = ' ! capssetter caps="video/x-raw,interlace-mode=interleaved"' * ("interlaced" in sys.argv[4:])


def caps(size):
    width, height = size.split("x")
    return f"video/x-raw,width={width},height={height},framerate={rate}/1"


def begin_changes(factory, media):
    size = media.get_element().get_by_name("size")
    following = itertools.cycle(sizes[1:] + sizes[:1])

    def change():
        now = next(following)
        size.set_property("caps", Gst.Caps.from_string(caps(now)))
        print(now, flush=True)
        return True

    GLib.timeout_add(1000, change)


factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    f"( videotestsrc is-live=true pattern={pattern} ! capsfilter name=size caps={caps(sizes[0])}"
    f"{form} ! x264enc threads=1 tune=zerolatency speed-preset=ultrafast key-int-max=15"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
if len(sizes) > 1:
    factory.connect("media-configure", begin_changes)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/camera", flush=True)
GLib.MainLoop().run()
