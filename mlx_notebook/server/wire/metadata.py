"""The metadata that clients can attach to a stored object.

Format: https://platform.openai.com/docs/api-reference/chat/create (metadata).
"""

from typing import Annotated

from msgspec import Meta

_Key = Annotated[str, Meta(max_length=64)]
_Value = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[_Key, _Value], Meta(max_length=16)]
