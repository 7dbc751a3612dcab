"""The checker of annotated types and shapes that tests run the library under."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""beartype, for which an int is a float, as it is for mypy."""
