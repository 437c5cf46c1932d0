"""A trimmed vocabulary: the task's texts keep their tokens, any other text is still written, and files follow the ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.shrinking import vocabulary
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import pillm

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "le tramway de minuit passe par le pont rouge", "la neige du matin couvre la gare et le lac", "aaaa aaa aa abab ababab",
    '{"mot": "érable", "nombre": 11}', "un chat, un loup, quatre livres; onze gâteaux", "日本語 日本 12 345",
]  # fmt: skip
WORDS = st.sampled_from(sorted({word for text in CORPUS for word in text.split(" ")} | {"rouges", "minuits", "neigeait"}))
SENTENCES = st.lists(WORDS, max_size=8).map(" ".join)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def learnt() -> dict[str, Any]:
    """Return a tokenizer.json as tokenizers trains it: one merge for each token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return dict(json.loads(tokenizer.to_str()))


def ranked() -> dict[str, Any]:
    """Return a tokenizer.json as those made from ranks of tokens: every way to build a token, and whole words first."""
    document = learnt()
    texts = [text for text in document["model"]["vocab"] if text not in SPECIAL]
    ways = [[text[:cut], text[cut:]] for text in texts for cut in range(1, len(text))]
    merges = [way for way in ways if set(way) <= set(texts)]
    document["model"] |= {"merges": merges, "ignore_merges": True, "vocab": {text: number for number, text in enumerate(texts)}}
    for number, token in enumerate(document["added_tokens"]):
        token["id"] = len(texts) + number  # after all others, and not in the model's own vocabulary
    return document


DOCUMENTS = {"learnt": learnt(), "ranked": ranked()}
LOADED = {name: Tokenizer.from_str(json.dumps(document)) for name, document in DOCUMENTS.items()}
each_kind = pytest.mark.parametrize("kind", DOCUMENTS)


def trimmed_to(kind: str, texts: list[str], least: int = 0) -> tuple[vocabulary.Trimmed, Tokenizer]:
    used = {index for text in texts for index in LOADED[kind].encode(text).ids}
    made = vocabulary.trim(DOCUMENTS[kind], used, least)
    return made, Tokenizer.from_str(json.dumps(made.tokenizer))


@each_kind
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(SENTENCES | ANYTHING, max_size=6))
def test_the_texts_of_the_task_keep_their_tokens_one_to_one(kind: str, texts: list[str]) -> None:
    texts = [*texts, "<|im_start|>user\n" + "".join(texts) + "<|im_end|>"]
    made, smaller = trimmed_to(kind, texts)
    for text in texts:
        before, after = LOADED[kind].encode(text), smaller.encode(text)
        assert after.tokens == before.tokens
        assert after.ids == [made.new_ids[index] for index in before.ids]


@each_kind
@settings(deadline=None, max_examples=60)
@given(kept=st.lists(SENTENCES, max_size=3), text=ANYTHING | SENTENCES)
def test_any_other_text_is_still_written_and_read_back(kind: str, kept: list[str], text: str) -> None:
    smaller = trimmed_to(kind, kept)[1]
    assert smaller.decode(smaller.encode(text).ids, skip_special_tokens=False) == text


@each_kind
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(SENTENCES, max_size=4), least=st.integers(0, 600))
def test_ids_are_dense_in_the_old_order_and_no_row_is_left_without_a_token(kind: str, texts: list[str], least: int) -> None:
    made, smaller = trimmed_to(kind, texts, least)
    everything = LOADED[kind].get_vocab_size()
    assert made.kept == sorted(set(made.kept))
    assert sorted(smaller.get_vocab().values()) == list(range(len(made.kept)))
    assert len(made.kept) % vocabulary.MULTIPLE == 0 or len(made.kept) == everything
    assert len(made.kept) >= min(least, everything)
    assert {smaller.id_to_token(new): old for old, new in made.new_ids.items()}.items() <= LOADED[kind].get_vocab().items()


def test_it_holds_all_bytes_and_all_added_tokens_even_for_no_text_at_all() -> None:
    made, smaller = trimmed_to("learnt", [])
    assert set(pre_tokenizers.ByteLevel.alphabet()) | set(SPECIAL) <= smaller.get_vocab().keys()
    assert len(made.kept) == 320
    assert smaller.encode("<|im_end|>").tokens == ["<|im_end|>"]


def test_it_is_filled_with_the_commonest_tokens_first() -> None:
    merges = [one + two for one, two in DOCUMENTS["learnt"]["model"]["merges"]]
    kept = trimmed_to("learnt", [], least=384)[1].get_vocab().keys() - pre_tokenizers.ByteLevel.alphabet() - set(SPECIAL)
    assert kept == set(merges[: len(kept)])


def test_merges_written_as_text_stay_text() -> None:
    document = learnt()
    merges = [" ".join(merge) for merge in document["model"]["merges"]]
    used = {index for text in CORPUS[:2] for index in LOADED["learnt"].encode(text).ids}
    made = vocabulary.trim({**document, "model": {**document["model"], "merges": merges}}, used)
    assert [merge.split(" ") for merge in made.tokenizer["model"]["merges"]] == (
        vocabulary.trim(document, used).tokenizer["model"]["merges"]
    )


def test_padding_and_post_processors_follow_the_new_ids() -> None:
    tokenizer = Tokenizer.from_str(json.dumps(DOCUMENTS["ranked"]))
    start, end = (tokenizer.token_to_id(text) for text in SPECIAL[1:])
    template = processors.TemplateProcessing("<|im_start|> $0", "$A $B:1", [("<|im_start|>", start)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    tokenizer.enable_padding(pad_id=end, pad_token="<|im_end|>")
    made = Tokenizer.from_str(json.dumps(vocabulary.trim(json.loads(tokenizer.to_str()), []).tokenizer))
    padded = made.encode_batch(["a", "a !?"])
    assert padded[0].tokens[:3] == ["<|im_start|>", "a", "<|im_end|>"]
    assert padded[0].ids[:3] == [made.token_to_id(text) for text in padded[0].tokens[:3]]
    tokenizer.post_processor = processors.RobertaProcessing(("<|im_end|>", end), ("<|im_start|>", start))
    roberta = Tokenizer.from_str(json.dumps(vocabulary.trim(json.loads(tokenizer.to_str()), []).tokenizer))
    assert [roberta.token_to_id(text) for text in roberta.encode("a").tokens[:3]] == roberta.encode("a").ids[:3]


def test_every_file_of_a_tokenizer_follows_and_the_template_is_copied(tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    out.mkdir()
    document = DOCUMENTS["ranked"]
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    files = {
        "tokenizer_config.json": {
            "eos_token": "<|im_end|>",
            "added_tokens_decoder": {str(added["<|im_end|>"]): {}, "9999": {}},
        },
        "vocab.json": document["model"]["vocab"],
        "added_tokens.json": added,
        "special_tokens_map.json": {"eos_token": "<|im_end|>"},
    }
    for name, value in files.items():
        (base / name).write_text(json.dumps(value), "utf-8")
    (base / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    (base / "chat_template.jinja").write_text("{{ 'é' }}", "utf-8")
    made = vocabulary.trim(document, LOADED["ranked"].encode(CORPUS[0]).ids)
    vocabulary.write_tokenizer(made, base, out)
    read = {path.name: path.read_text("utf-8") for path in out.iterdir()}
    assert read.keys() == {path.name for path in base.iterdir()} | {"tokenizer.json"}
    assert json.loads(read["tokenizer.json"]) == made.tokenizer
    last = len(made.kept) - 1
    assert json.loads(read["tokenizer_config.json"])["added_tokens_decoder"].keys() == {str(last)}
    assert json.loads(read["added_tokens.json"])["<|im_end|>"] == last
    assert read["chat_template.jinja"] == "{{ 'é' }}"
    slow = Tokenizer(models.BPE.from_file(str(out / "vocab.json"), str(out / "merges.txt")))
    assert slow.get_vocab_size() == len(made.kept) - len(added)


def test_ids_named_in_settings_are_kept_and_renamed_and_unknown_ones_become_null() -> None:
    given = {"eos_token_id": [5, 9], "pad_token_id": 7, "bos_token_id": None, "max_new_tokens": 5, "suppress_tokens": [9]}
    assert vocabulary.named_ids(given, {"eos_token_id": 4}) == {4, 5, 7, 9}
    renamed = vocabulary.renamed_ids(given, {5: 0, 9: 1})
    assert renamed == {
        "eos_token_id": [0, 1], "pad_token_id": None, "bos_token_id": None, "max_new_tokens": 5, "suppress_tokens": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "Unigram", "vocab": []}}, "is a Unigram model"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "is a WordPiece model"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "does not work on bytes"),
        ({"model": {"type": "BPE", "byte_fallback": True}}, "has byte_fallback"),
        ({"model": None}, "cannot be read"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused_in_a_sentence(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(learnt() | change), "utf-8")
    with pytest.raises(pillm.ConfigError, match=rf"trim_vocabulary: .*{reason}.*"):
        vocabulary.read_tokenizer(tmp_path)


def test_a_base_without_tokenizer_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match=r"tokenizer\.json cannot be read"):
        vocabulary.read_tokenizer(tmp_path)


def test_files_of_texts_are_read_by_line_and_rows_by_their_strings(tmp_path: Path) -> None:
    text, rows, binary = tmp_path / "a.txt", tmp_path / "a.jsonl", tmp_path / "b.txt"
    text.write_bytes(b"un\r\ndeux\n")
    rows.write_text('{"id": "é\\n", "n": 3, "m": [{"content": "ça"}]}\n\n', "utf-8")
    binary.write_bytes(b"\xff")
    assert list(vocabulary.texts_of(text)) == [(1, "un\r\n"), (2, "deux\n")]
    assert [found for _, found in vocabulary.texts_of(rows)] == ["id", "n", "m", "é\n", "content", "ça"]
    for path in (binary, tmp_path / "none.txt"):
        with pytest.raises(pillm.DataError, match="vocabulary_files"):
            list(vocabulary.texts_of(path))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kept": [2, 1], "before": 9}', '{"kept": [1, 9], "before": 9}', '{"kept": ["a"], "before": 9}']
)
def test_a_damaged_list_of_kept_tokens_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "kept_tokens.json").write_text(text, "utf-8")
    with pytest.raises(pillm.DataError, match=r"kept_tokens\.json is damaged.*Train again"):
        vocabulary.read_kept(tmp_path)
