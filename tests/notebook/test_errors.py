"""An error response of the server becomes an exception of its kind."""

import pytest

from mlx_notebook.notebook import errors
from mlx_notebook.notebook.errors import from_response


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_api_key", errors.NotAuthorized),
        (404, "model_not_found", errors.ModelNotFound),
        (404, "not_recorded", errors.NotRecorded),
        (403, "model_gated", errors.DownloadFailed),
        (507, "insufficient_memory", errors.DoesNotFit),
        (400, "context_length_exceeded", errors.ContextTooLong),
        (429, "queue_full", errors.ServerBusy),
        (503, "engine_unavailable", errors.EngineFailed),
        (400, "invalid_value", errors.RequestRefused),
    ],
)
def test_status_and_code_choose_the_exception(status, code, kind):
    body = {"error": {"message": "No.", "code": code}}
    for error in (body, body["error"]):
        raised = from_response(status, error, where="http://here/")
        assert type(raised) is kind
        assert str(raised).startswith("No.")


@pytest.mark.parametrize("body", [None, "text", {"error": "text"}, {}, {"error": {"message": ""}}])
def test_a_response_without_an_error_object_is_described_by_its_status(body):
    assert str(from_response(502, body, where="http://here/")) == (
        "The server at http://here/ answered with HTTP 502."
    )


def test_the_cross_site_check_of_jupyter_reads_as_a_refused_token():
    body = {"message": "'_xsrf' argument missing from POST"}
    raised = from_response(403, body, where="http://here/")
    assert str(raised) == "The server at http://here/ refused the token."


def test_an_error_is_shown_as_one_line_without_a_traceback():
    error = errors.ServerBusy("Try again.")
    assert error._render_traceback_() == ["ServerBusy: Try again."]
    foreign = TimeoutError()
    errors.in_one_line(foreign, "stopped.")
    assert foreign._render_traceback_() == ["TimeoutError: stopped."]
