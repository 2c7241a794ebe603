"""The one exception for mistakes that the person at the terminal can mend."""


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where, what to do.

    `jaxmatte.main` prints it and exits with code 2; notebooks see it as it is.
    """
