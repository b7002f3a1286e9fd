import pytest


def test_a_text_gets_a_list_and_several_get_a_list_of_lists(ask, render, talks, expected):
    labelled = [[{"score": score, "label": "LABEL_0"}] for score in expected]
    assert ask("/predict", {"inputs": render(talks[0]), "raw_scores": True}) == labelled[0]
    assert ask("/predict", {"inputs": [render(talks[0])], "raw_scores": True}) == labelled[0]
    assert ask("/predict", {"inputs": [[render(talk)] for talk in talks], "raw_scores": True}) == labelled


@pytest.mark.parametrize("fields", [{}, {"raw_scores": False}, {"raw_scores": None}, {"raw_scores": 1}])
def test_a_request_for_a_sigmoid_is_refused(ask, render, talks, fields):
    answer = ask("/predict", {"inputs": render(talks[0])} | fields, status=400)
    assert answer["error"].startswith("expected raw_scores to be true: without it the request asks for a sigmoid")
    assert answer["error_type"] == "Validation"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", "b"], "inputs: expected text, or a list of lists of one text; a list of two texts is a pair"),
        ([["a", "b"]], "inputs: expected text, or a list of lists of one text"),
        ([], "inputs: expected text, or a list of lists of one text"),
        ("Hello.", "the text is not what the model's chat template renders"),
        ([["Hello."], ["Hello."]], "conversation 0: the text is not what the model's chat template renders"),
    ],
)
def test_other_inputs_are_refused(ask, inputs, message):
    answer = ask("/predict", {"inputs": inputs, "raw_scores": True}, status=400)
    assert answer["error"].startswith(message)


@pytest.mark.usefixtures("break_model")
def test_a_failure_of_the_server_is_that_of_a_backend(ask, render, talks):
    assert ask("/predict", {"inputs": render(talks[0]), "raw_scores": True}, status=503)["error_type"] == "Backend"
