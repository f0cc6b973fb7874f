"""Pictures through the official clients."""

import base64
import io

import anthropic
import openai
import pytest
from PIL import Image

from tests.server.running import RunningServer


def png() -> str:
    """A picture in base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0)


def test_a_model_of_text_refuses_a_picture_in_a_chat(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="tiny-chat",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{png()}"},
                        },
                    ],
                }
            ],
        )
    assert caught.value.code == "vision_not_supported"
    assert caught.value.param == "messages[0].content[1].image_url"
    assert "'tiny-chat' sees no pictures" in caught.value.message


def test_a_model_of_text_refuses_a_picture_in_a_response(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model="tiny-chat",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": "https://x/y", "detail": "auto"}
                    ],
                }
            ],
        )
    assert caught.value.code == "vision_not_supported"
    assert caught.value.param == "input[0].content[0].image_url"


def test_a_model_of_text_refuses_a_picture_in_a_message(server: RunningServer) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key=server.token, max_retries=0)
    source: anthropic.types.Base64ImageSourceParam = {
        "type": "base64",
        "media_type": "image/png",
        "data": png(),
    }
    with pytest.raises(anthropic.BadRequestError, match=r"messages|sees no pictures"):
        client.messages.create(
            model="tiny-chat",
            max_tokens=5,
            messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],
        )
