"""The error of bad input.

Its message is all a user needs, so commands print it without a traceback.
"""


class InputError(ValueError):
    """A file, option or combination of settings that cannot work.

    Its message says what, where and the way out.
    """
