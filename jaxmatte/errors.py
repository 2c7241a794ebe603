"""What a person at the terminal can mend."""


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where, what to do.

    `jaxmatte.main` prints it and exits with code 2; notebooks see it as it is.
    """


class BrokenData(UserError):
    """A row that cannot be read; training stops at it or passes it over, as the config says."""
