import openai
import pytest


def test_the_score_is_the_embedding(ask, served, render, ids, talks, expected):
    answer = ask("/v1/embeddings", {"model": "rm", "input": [render(talk) for talk in talks]})
    num = sum(len(ids(talk)) for talk in talks)
    assert answer == {
        "object": "list",
        "model": served.name,
        "data": [{"object": "embedding", "index": index, "embedding": [each]} for index, each in enumerate(expected)],
        "usage": {"prompt_tokens": num, "total_tokens": num},
    }


@pytest.mark.parametrize("kind", ["text", "ids", "lists of ids"])
def test_one_conversation_may_be_of_any_kind(ask, render, ids, talks, expected, kind):
    given = {"text": render(talks[2]), "ids": ids(talks[2]), "lists of ids": [ids(talks[2])]}[kind]
    assert ask("/v1/embeddings", {"input": given})["data"][-1]["embedding"] == [expected[2]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": []}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"input": [{"text": "a"}]}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"input": ["Hello."]}, "the text is not what the model's chat template renders"),
        ({"dimensions": 3}, "expected no dimensions: the embedding is the score, one number"),
        ({"encoding_format": "hex"}, "encoding_format: Input should be 'float' or 'base64'"),
    ],
)
def test_other_requests_are_refused(ask, render, talks, fields, message):
    error = ask("/v1/embeddings", {"input": render(talks[0])} | fields, status=400)["error"]
    assert error == {"message": message, "type": "BadRequestError", "param": None, "code": 400}


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
def test_openais_own_client_reads_scores_and_errors(server, render, talks, expected, options):
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model="rm", input=[render(talk) for talk in talks], **options)
        assert [each.embedding for each in answer.data] == [[score] for score in expected]
        with pytest.raises(openai.BadRequestError, match="conversation 1: the text is not what"):
            client.embeddings.create(model="rm", input=[render(talks[0]), "Hello."], **options)
