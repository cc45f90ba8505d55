"""A camera of a soak that sends H.264 over RTSP, for the system's Python with GStreamer.

`/usr/bin/python3 -m tests.soak.rtsp_camera PACK PORT EPOCH JOURNAL SCAN`

SCAN: progressive, or interlaced: coded as two fields a picture, the top one first.
"""

import sys
import threading
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

from tests.soak.show import Journal, Show, follow

# What stands before and after the encoder; the profile that it would choose knows no fields.
SCANS = {
    "progressive": ("", ""),
    "interlaced": (
        " ! capssetter caps=video/x-raw,interlace-mode=interleaved,field-order=(string)top-field-first",
        " ! video/x-h264,profile=main",
    ),
}
DAMAGED_SHARE = 0.002  # of the bytes of the coded stream, while bytes are changed


def size_caps(size_wh):
    width, height = size_wh
    return Gst.Caps.from_string(f"video/x-raw,width={width},height={height}")


class Ended(Exception):
    """Nobody watches any more."""


class Factory(GstRtspServer.RTSPMediaFactory):
    """Makes the stream when a client connects, and ends it when none is left."""

    def __init__(self, show, journal, scan):
        super().__init__()
        self.show, self.journal = show, journal
        self.set_shared(True)
        # One thread, so one slice a picture: before each of several the payloader repeats the headers, which
        # cuts a
        # picture in two.
        self.set_launch(
            "( appsrc name=pictures is-live=true do-timestamp=true format=time block=false"
            f" caps=image/jpeg,framerate={show.rate_hz}/1"
            f" ! jpegdec ! videoconvert ! videoscale ! capsfilter name=size{SCANS[scan][0]}"
            " ! x264enc threads=1 tune=zerolatency speed-preset=veryfast pass=quant quantizer=12 "
            f"key-int-max=15{SCANS[scan][1]}"
            " ! breakmydata name=damage probability=0 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        self.connect("media-configure", self.begin)

    def begin(self, factory, media):
        """Feed the stream from a thread of its own."""
        bin_ = media.get_element()
        parts = [bin_.get_by_name(name) for name in ("pictures", "size", "damage")]
        parts[1].set_property("caps", size_caps(self.show.sizes_wh[0]))
        ended = threading.Event()
        media.connect("unprepared", lambda *_: ended.set())
        threading.Thread(target=self.feed, args=(ended, *parts), daemon=True).start()

    def feed(self, ended, pictures, size_filter, damage):
        """Push each picture when it is due."""
        show, shown, damaged = self.show, 0, False

        def push(number, size):
            nonlocal shown, damaged
            if ended.is_set():
                raise Ended
            if size != shown:
                shown = size
                size_filter.set_property("caps", size_caps(show.sizes_wh[size]))
            if show.damaged != damaged:
                damaged = show.damaged
                damage.set_property("probability", DAMAGED_SHARE if damaged else 0.0)
            content = show.picture(number, 0)
            if pictures.emit("push-buffer", Gst.Buffer.new_wrapped(content)) != Gst.FlowReturn.OK:
                raise Ended

        try:
            follow(show, Journal(show, self.journal), push)
        except Ended:
            return


def main():
    """Serve until standard input ends."""
    Gst.init(None)
    pack, port, epoch_s, journal, scan = sys.argv[1:]
    show = Show(Path(pack), float(epoch_s))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/camera", Factory(show, Path(journal), scan))
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    GLib.timeout_add_seconds(2, lambda: server.get_session_pool().cleanup() >= 0)
    show.obey()
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
