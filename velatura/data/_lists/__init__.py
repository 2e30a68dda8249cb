"""Which files, which labels, which split: the lists of every data set, and no pixel.

listing      one noun for all of them: Listing, of Videos or Images
splits       whole groups go to one side; hashed splits where none is official
text         list files read with one sentence for whatever is wrong in them
pickles      dictionaries of arrays, and of nothing else
attributes   private attributes of your own, one line of JSON per file
own          lines about files of your own
source       what is known of a data set: licence, page, layout, official counts
catalog      every data set of this folder by its name
disk         what is there, what is missing, what cannot be read
check        lists and disk held against each other and against the official counts
download     one file over HTTP, resumed and checked

The others are one data set each; such a file has ``SOURCES``.
"""
