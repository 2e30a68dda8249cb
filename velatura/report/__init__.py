"""Measurements in, tables, one HTML page and a card out; nothing here trains or measures.

``run.py`` reads the folder of a finished or unfinished run, ``findings.py`` says in words what
the numbers show, ``tables.py`` and ``figures.py`` lay them out, ``page.py`` writes the page. Its
parts have a file each: ``trade_off``, ``results``, ``ladder``, ``effort``, ``attacks``,
``identity``, ``utility``, ``pictures``, ``making``; ``markup.py`` is what all of them are made of.
``evaluation.py`` puts all that is known of one row into ``eval.json``; ``card.py``, ``dpia.py`` and
``limits.py`` write the texts of the card from that alone. ``paper.toml`` is what the paper prints;
``paper_table.py`` and ``paper_figure.py`` put ours, from ``records.py``, beside it.
"""
