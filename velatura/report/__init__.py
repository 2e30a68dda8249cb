"""Measurements in, tables and one HTML page out; nothing here trains or measures.

``run.py`` reads the folder of a finished or unfinished run, ``findings.py`` says in words what
the numbers show, ``tables.py`` and ``figures.py`` lay them out, ``page.py`` writes the page. Its
parts have a file each: ``trade_off``, ``results``, ``ladder``, ``effort``, ``attacks``,
``identity``, ``utility``, ``pictures``, ``making``; ``markup.py`` is what all of them are made of.
"""
