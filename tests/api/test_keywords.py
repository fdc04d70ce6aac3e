import pytest

import minichar


def test_unknown_option_suggests_a_similar_name(text):
    for wrong, right in (
        ("learning_rat", "learning_rate"),
        ("wibble", None),
        ("rnnsize", "rnn_size"),
        ("devise", "device"),
        ("init_form", "init_from"),
        ("text", "data"),
    ):
        suggestion = f"; did you mean '{right}'?" if right else ""
        with pytest.raises(TypeError) as caught:
            minichar.train(text, **{wrong: 3})
        assert str(caught.value) == f"train() has no option '{wrong}'{suggestion}"


def test_a_misspelt_keyword_of_a_method_suggests_the_nearest_one(model):
    for call, words in (
        (lambda: model.generate("a", lenght=5), "generate() has no option 'lenght'; did you mean 'length'?"),
        (
            lambda: model.stream(tempreature=1),
            "stream() has no option 'tempreature'; did you mean 'temperature'?",
        ),
        (
            lambda: minichar.Model.create(model.vocabulary, rnnsize=3),
            "create() has no option 'rnnsize'; did you mean 'rnn_size'?",
        ),
        (
            lambda: minichar.train(hidden_size=3),
            "train() has no option 'hidden_size'; did you mean 'rnn_size'?",
        ),
        (
            lambda: model.generate(prompt="a"),
            "generate() has no option 'prompt'; did you mean 'prime'?",
        ),
        (lambda: model.stream(text="a"), "stream() has no option 'text'; did you mean 'prime'?"),
        (lambda: model.predict(prompt="a"), "predict() has no option 'prompt'; did you mean 'text'?"),
        (lambda: model.evaluate(data="a"), "evaluate() has no option 'data'; did you mean 'text'?"),
        (lambda: minichar.load("cv", prompt="a"), "load() has no option 'prompt'"),
        (lambda: minichar.load("cv", devcie="cpu"), "load() has no option 'devcie'; did you mean 'device'?"),
        (
            lambda: model.evaluate("ab", unknwon="skip"),
            "evaluate() has no option 'unknwon'; did you mean 'unknown'?",
        ),
        (
            lambda: model.surprisal("ab", unknwon="skip"),
            "surprisal() has no option 'unknwon'; did you mean 'unknown'?",
        ),
        (
            lambda: model.generate(lenght=5),
            "generate() has no option 'lenght'; did you mean 'length'?",
        ),
        (
            lambda: minichar.generate_many(model, 2, temperature=0.5),
            "generate_many() has no option 'temperature'; use choice=Choice(temperature=...)",
        ),
        (lambda: model.save("a.npz", dtpye="float64"), "save() has no option 'dtpye'; did you mean 'dtype'?"),
        (lambda: model.save("a.npz", selff=1), "save() has no option 'selff'"),
        (lambda: minichar.Model.create(model.vocabulary, clss=1), "create() has no option 'clss'"),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == words
