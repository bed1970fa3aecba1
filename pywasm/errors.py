"""The one exception for what a person can mend."""


class UserError(Exception):
    """Bad input or a missing thing: one sentence that names what, where and how to mend it.

    The command line prints it on one line, without a traceback, and exits with status 2.
    """
