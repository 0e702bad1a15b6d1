"""The sentences of the pages that draw a conclusion from numbers, by page."""

from . import figures, measurements, other_pages

SENTENCES = [*figures.SENTENCES, *measurements.SENTENCES, *other_pages.SENTENCES]
