"""Networks, one file each, found by file name.

A file offers the roles its network can play, as functions:

    anonymizer(cfg)             f_A: (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    classifier(cfg, outputs)    clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)
    encoder(cfg)                frames (N, C, H, W) in [0, 1] to features (N, D); ``.width`` is D

Input normalisation is inside each network's own ``forward``.
"""
