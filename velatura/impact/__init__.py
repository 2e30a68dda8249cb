"""What anonymized training images cost a network that learns from them.

One file for each verb of ``velatura impact``: anonymize makes a copy of a COCO folder in which
people are hidden, people draws such a folder of nobody; train makes a detector learn from a folder,
evaluate measures it on originals; bench does all of it for several arms and seeds, and report shows
what came of that; train_gan trains a network that draws others in the place of people. A name that
begins with an underscore is not a verb.
"""
