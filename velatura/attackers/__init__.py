"""Evaluation adversaries, one file each: trained fresh, on the frozen anonymizer's release.

A file offers ``Config`` and ``network(cfg, outputs) -> Module``; the supervised fit is shared. What
does not learn by gradient offers ``fit`` as well, which takes its place; see ``knn``. No method may
import this room: an anonymizer must not see its examiner.
"""
