"""What can be wrong with data on a disk."""


class DataNotFoundError(FileNotFoundError):
    """A data set is in none of the places where it was looked for, and could not be downloaded."""


class CorruptDataError(ValueError):
    """A data set's file is damaged, incomplete, or holds something else."""
