"""What anonymized training images cost a network that learns from them.

One file for each verb of ``velatura impact``: anonymize makes a copy of a COCO folder in which
people are hidden, train_gan trains a network that draws others in their place. A name that begins
with an underscore is not a verb.
"""
