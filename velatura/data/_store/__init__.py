"""Videos decoded once into a form that trains fast; the originals are never touched.

store      reading: Store.open(folder).window(name, frames)
prepare    writing: prepare({name: path}, folder)
form       how the frames of one video lie in its file: raw, or JPEGs behind each other
"""
