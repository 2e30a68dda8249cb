"""A conditional GAN that draws somebody else into a region whose pixels it never sees.

generator       crop, mask and keypoints in, crop out; discriminator, its opponent
steps           the two steps of the game
augment         both players' pictures varied alike, so that few of them last longer
average         the generator's mean over its last steps, which is what is kept
crops           squares around regions, and the batch of a step
distance        how far what is drawn is from real crops, in the features of a named network

``velatura impact train-gan`` trains it, ``velatura/export/inpainter.py`` writes it as a file, and
``velatura/regions/gan.py`` draws with that, without torch.
"""
