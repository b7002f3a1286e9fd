import pytest


@pytest.mark.parametrize("fields", [{}, {"task": "classify"}, {"task": None, "encoding_format": "float"}])
def test_pooling_gives_the_scores_of_whole_conversations(ask, render, talks, expected, fields):
    answer = ask("/pooling", {"input": [render(talk) for talk in talks], **fields})
    assert [each["data"] for each in answer["data"]] == [[score] for score in expected]
    assert [(each["index"], each["object"]) for each in answer["data"]] == [
        (0, "pooling"),
        (1, "pooling"),
        (2, "pooling"),
    ]
    assert answer["activation"] == "none"


def test_pooling_takes_messages(ask, talks, expected):
    assert ask("/pooling", {"messages": talks[1].to_messages()})["data"][0]["data"] == [expected[1]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "token_classify"}, "task: Input should be 'classify'"),
        ({"task": "embed"}, "task: Input should be 'classify'"),
        ({"encoding_format": "bytes"}, "encoding_format: Input should be 'float'"),
        ({"messages": []}, "expected either input or messages, got input and messages"),
        ({"input": "Hello."}, "the text is not what the model's chat template renders"),
    ],
)
def test_pooling_refuses_other_tasks_and_forms(ask, render, talks, fields, message):
    error = ask("/pooling", {"input": render(talks[0])} | fields, status=400)["error"]
    assert error == {"message": message, "type": "BadRequestError", "param": None, "code": 400}
