"""Video files, in and out: exact frames, exact times, and an error instead of a guess.

    probe.py   what a file holds, without decoding it
    read.py    every frame in the order it is shown, or chosen frames
    seek.py    the same frames by decoding only what is needed, where that is exact
    clips.py   which frames make a clip
    write.py   a file that appears under its name only when it is complete

Decoding and encoding are PyAV's; this room knows no network and imports no torch.
"""
