"""Define the settings about files and batches."""

from traitlets import HasTraits, Integer


class BatchConfiguration(HasTraits):
    """Hold the traits about files and batches."""

    max_file_bytes = Integer(
        100 * 1024 * 1024,
        min=1024,
        max=512 * 1024 * 1024,
        help="Largest file that can be uploaded to v1/files, in bytes. A larger one gets a 413.",
    ).tag(config=True)

    files_max_bytes = Integer(
        1024 * 1024 * 1024,
        min=0,
        help="""Disk space for the files of a user and for the user's batches, in bytes. They are in
        Jupyter's data directory. 0: neither files nor batches are kept.""",
    ).tag(config=True)
