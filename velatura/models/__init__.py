"""Networks, one file each, found by file name.

A file offers the roles its network can play, as functions:

    anonymizer(cfg)             f_A: (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    classifier(cfg, outputs)    clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)
    encoder(cfg)                frames (N, C, H, W) in [0, 1] to features (N, D); ``.width`` is D

Where the network cannot take every clip, one more, to be asked before any training:

    check(cfg, frames, height, width)       raises BadInput, one sentence that says what it takes

``NATIVE`` is what the network was published for; `velatura models` counts at it.

Input normalisation is inside each network's own ``forward``. Weights come as ``_weights`` says:
a path, a name of the library's, or a repository of the Hugging Face hub.
"""
