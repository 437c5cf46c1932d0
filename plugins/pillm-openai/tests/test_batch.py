"""The batch queue: OpenAI's file format up and down, found again by name, and nothing bought twice."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pillm_openai import OpenAI
from pillm_openai_asking import SECRET
from pillm_openai_batchqueue import BatchQueue, answers, go, prompts, shout, teacher

import pillm
from pillm.answers import AnswerStore
from pillm.testing import check_batch_teacher


def test_rows_go_up_in_openai_batch_files_and_their_answers_come_down(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        labelled = go(queue, tmp_path, temperature=0.5, max_tokens=9)
    assert answers(labelled) == {f"r{n}": f"ÇA {n}" for n in range(7)}
    first = queue.batches["batch_0"]
    assert (first["endpoint"], first["completion_window"]) == ("/v1/chat/completions", "24h")
    assert queue.names[first["input_file_id"]] == f"pillm-{first['metadata']['pillm']}.jsonl"
    line = queue.lines(first)[0]
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"] == {
        "model": "m", "messages": [{"role": "user", "content": "ça 0"}], "temperature": 0.5, "max_tokens": 9,
    }  # fmt: skip
    assert [len(queue.lines(one)) for one in queue.batches.values()] == [3, 3, 1]
    kept = next(iter(labelled)).answer
    assert kept.model == "fake-model-2026"
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        assert store.spent().tokens == 7 * (7 + 2)


def test_the_key_goes_in_the_header_and_nothing_tells_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other-Key: topsecret")
    monkeypatch.setenv("OPENAI_ORG_ID", "topsecret")
    with BatchQueue() as queue:
        go(queue, tmp_path, 1)
    assert {headers["authorization"] for headers in queue.headers} == {f"Bearer {SECRET}"}
    assert not [name for headers in queue.headers for name in headers if name.startswith("x-stainless")]
    assert "topsecret" not in str(queue.headers)
    assert SECRET.encode() not in b"".join(queue.files.values())


def test_a_run_that_does_not_wait_is_gone_on_with_also_one_by_one(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable, match=r"not done yet \(0 of 6\).*The same command resumes"):
            go(queue, tmp_path, batch_wait=False, batches=2)
        queue.held = False
        said = answers(go(queue, tmp_path, batch=False))
    assert [row for row, text in said.items() if text.startswith("one by one")] == ["r6"]
    assert len(queue.batches) == 2


def test_a_batch_that_arrived_though_nobody_heard_is_found_on_a_later_page_and_not_bought_again(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.cut_after_creating = True
        with pytest.raises(pillm.Unavailable, match="did not take the batch"):
            go(queue, tmp_path, 3)
        queue.cut_after_creating = False
        for _ in range(5):  # of somebody else, newer
            queue.create({"input_file_id": queue.batches["batch_0"]["input_file_id"], "metadata": None})
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 6


@pytest.mark.parametrize("path", ["POST /v1/files", "POST /v1/batches", "GET /v1/batches/batch_0"])
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "invalid_api_key", "401"),
        (429, "insufficient_quota", "429"),
        (400, "bad", "400"),
        (404, "not_found", "batch=false|batch_give_up=true"),
    ],
)
def test_a_queue_that_refuses_stops_the_run_and_the_same_command_resumes(
    tmp_path: Path, path: str, status: int, code: str, says: str
) -> None:
    with BatchQueue() as queue:
        queue.refuse[path] = (status, {"error": {"message": f"no {SECRET}", "code": code}})
        with pytest.raises(pillm.Unavailable, match=says) as caught:
            go(queue, tmp_path, 3)
        assert SECRET not in str(caught.value)
        queue.refuse.clear()
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


def test_a_server_without_a_queue_is_asked_one_by_one_after_all(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.refuse = dict.fromkeys(("POST /v1/files", "GET /v1/batches"), (404, {"error": {"message": "no such path"}}))
        with pytest.raises(pillm.Unavailable, match="batch=false"):
            go(queue, tmp_path, 2)
        assert answers(go(queue, tmp_path, 2, batch=False)) == {"r0": "one by one: ça 0", "r1": "one by one: ça 1"}


def test_each_line_is_an_answer_or_its_own_failure(tmp_path: Path) -> None:
    def respond(body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        failures: dict[str, dict[str, Any]] = {
            "ça 1": {"response": {"status_code": 400, "body": {"error": {"message": "bad", "code": "x"}}}, "error": None},
            "ça 2": {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
            "ça 3": {"response": {"status_code": 200, "body": {"choices": None}}, "error": None},
            "ça 4": {"response": {"status_code": 500, "body": {"error": {"message": SECRET}}}, "error": None},
        }
        return failures.get(text, shout(body))

    with BatchQueue(respond) as queue:
        labelled = go(queue, tmp_path, 6, batch_size=50)
        assert answers(labelled) == {"r0": "ÇA 0", "r5": "ÇA 5"}
        rows = map(json.loads, (tmp_path / "failed.jsonl").read_text().splitlines())
        failed = {row["id"]: row["refused"]["reason"] for row in rows}
        queue.respond = shout
        again = go(queue, tmp_path, 6)
    assert [failed[f"r{n}"].partition(":")[0] for n in range(1, 5)] == ["invalid", "server", "server", "server"]
    assert "too late" in failed["r2"]
    assert not any(SECRET in text for text in failed.values())
    assert (again.counts.answered, again.counts.failed) == (5, 1), "what the server called invalid is asked on demand only"
    assert [len(queue.lines(one)) for one in queue.batches.values()] == [6, 3]


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_that_did_not_complete_gives_what_it_has_and_the_rest_is_asked_again(tmp_path: Path, status: str) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3, batch_wait=False)
        batch = queue.batches["batch_0"]
        batch.update(status=status, errors={"object": "list", "data": [{"message": f"enqueued too much {SECRET}"}]})
        if status != "failed":
            first = queue.lines(batch)[0]
            queue.files["out"] = b"not json\n" + json.dumps({"custom_id": first["custom_id"], **shout(first["body"])}).encode()
            batch["output_file_id"] = "out"
        queue.held = False
        if status == "failed":
            with pytest.raises(pillm.Unavailable, match=r"batch_0 failed: enqueued too much \[key\]"):
                go(queue, tmp_path, 3)
        else:
            assert go(queue, tmp_path, 3).transient == 2
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.lines(queue.batches["batch_1"])) == (3 if status == "failed" else 2)


def test_a_file_is_not_larger_than_a_server_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm_openai.teacher.MAX_FILE", 500)
    with BatchQueue() as queue:
        long = pillm.Prompt(id="long", messages=({"role": "user", "content": "x" * 500},))
        labelled = pillm.label([*prompts(5), long], teacher(queue, batch_size=99), tmp_path)
    sizes = [len(file) for file in queue.files.values() if b'"custom_id"' in file and b'"POST"' in file]
    assert (labelled.counts.answered, labelled.counts.failed) == (5, 1)
    assert len(sizes) == 3
    assert max(sizes) <= 500


def test_batches_cost_half_with_openai_alone_and_change_no_key() -> None:
    here, there = OpenAI(model="m", base_url="http://127.0.0.1:1/v1", batch=True), OpenAI(model="m", batch=True)
    modes = here.batch_mode(), there.batch_mode()
    assert [mode.price for mode in modes] == [Decimal(1), Decimal("0.5")]
    assert not OpenAI(model="m").batch_mode().active
    assert OpenAI(model="m").identity() == there.identity()


def test_a_line_separator_in_an_answer_ends_no_line(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        prompt = pillm.Prompt(id="r", messages=({"role": "user", "content": "a\u2028b\u0085c"},))
        assert answers(pillm.label([prompt], teacher(queue), tmp_path)) == {"r": "A\u2028B\u0085C"}


def test_the_queue_keeps_the_protocol() -> None:
    with BatchQueue() as queue:
        said = check_batch_teacher(teacher(queue))
    assert all(isinstance(result, pillm.Answer) for result in said.values())
