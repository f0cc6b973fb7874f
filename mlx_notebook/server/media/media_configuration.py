"""Define the settings about images, documents, videos and sound in requests."""

from typing import Any

from traitlets import Float, HasTraits, Integer, List, TraitError, Unicode, validate


class MediaConfiguration(HasTraits):
    """Hold the limits of what requests show and play to models."""

    max_image_bytes = Integer(
        20 * 1024 * 1024, min=1024, help="Largest image, in bytes. A larger one gets a 400."
    ).tag(config=True)

    max_image_pixels = Integer(
        50_000_000,
        min=1024,
        max=64 * 2**20,
        help="""Most pixels of an image. This is checked before the image is decoded, since a small
        file can contain an image that fills the memory. At most 67,108,864, the engine's limit.""",
    ).tag(config=True)

    max_images = Integer(
        64,
        min=0,
        help="""Most images in the whole conversation of a request. Together they may have
        max_body_bytes.""",
    ).tag(config=True)

    max_document_bytes = Integer(
        32 * 1024 * 1024,
        min=1024,
        help="""Largest PDF, in bytes. A larger one gets a 400. In a request it is a third larger,
        and max_body_bytes applies too.""",
    ).tag(config=True)

    document_pages = Integer(
        20,
        min=1,
        help="""Pages of a PDF that a model sees if the request does not choose any: the first ones.
        The response says so in the header x-mlx-notices if there are more.""",
    ).tag(config=True)

    max_document_pages = Integer(
        100, min=1, help="Most pages of all PDFs in the whole conversation of a request."
    ).tag(config=True)

    document_page_pixels = Integer(
        1_000_000,
        min=10_000,
        max=64 * 2**20,
        help="""Pixels of a page of a PDF as the model sees it. More show small print better and
        take more of the context. An A4 page with 1,000,000 has 100 pixels an inch.""",
    ).tag(config=True)

    max_video_bytes = Integer(
        64 * 1024 * 1024,
        min=1024,
        help="""Largest video, in bytes. A larger one gets a 400. In a request it is a third larger,
        and max_body_bytes applies too.""",
    ).tag(config=True)

    max_video_seconds = Float(
        3600.0, min=1.0, help="Longest video, in seconds. A longer one gets a 400."
    ).tag(config=True)

    video_fps = Float(
        1.0,
        min=0.01,
        max=60.0,
        help="Frames of each second of a video that a model sees if the request does not say.",
    ).tag(config=True)

    video_frames = Integer(
        32,
        min=1,
        help="""Most frames of a video that a model sees if the request does not say. They are
        spread over the whole video.""",
    ).tag(config=True)

    max_video_frames = Integer(
        128, min=1, help="Most frames of all videos in the whole conversation of a request."
    ).tag(config=True)

    video_frame_pixels = Integer(
        262_144,
        min=1024,
        max=64 * 2**20,
        help="Most pixels of a frame of a video. Larger frames are scaled down.",
    ).tag(config=True)

    allow_image_urls = List(
        Unicode(),
        help="""Hosts from which images, PDFs and videos are fetched if a request names them by URL,
        for example "upload.wikimedia.org" or "images.example:8080" (without a port: 80 and 443).
        A host on a private network or on this machine is refused, unless its address is listed too.
        Empty: requests must contain their files.""",
    ).tag(config=True)

    image_root = Unicode(
        "",
        help="""Folder, with all folders in it, whose images, PDFs and videos requests may name by
        file: URLs. Empty: none.""",
    ).tag(config=True)

    max_audio_bytes = Integer(
        25 * 1024 * 1024,
        min=1024,
        help="Largest file of sound to write down, in bytes. A larger one gets a 413.",
    ).tag(config=True)

    max_audio_seconds = Float(
        3600.0, min=1.0, help="Longest sound to write down, in seconds. A longer one gets a 400."
    ).tag(config=True)

    @validate("allow_image_urls")
    def _check_image_hosts(self, proposal: dict[str, Any]) -> list[str]:
        from mlx_notebook.server.media.sources.image_fetcher import parse_host

        hosts: list[str] = proposal["value"]
        for host in hosts:
            try:
                parse_host(host)
            except ValueError:
                raise TraitError(
                    "MlxNotebookApp.allow_image_urls lists hosts, like 'upload.wikimedia.org' or "
                    f"'images.example:8080', and not {host!r}."
                ) from None
        return hosts
