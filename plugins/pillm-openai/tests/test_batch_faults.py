"""What goes wrong with a batch queue holds up its own rows alone, and nothing is bought twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pillm_openai_batchqueue import BatchQueue, answers, go, shout, teacher

import pillm


def test_a_result_file_that_is_cut_is_fetched_again_and_not_bought_again(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3, batch_wait=False)
        batch = queue.batches["batch_0"]
        queue.end(batch)
        whole = queue.files[batch["output_file_id"]]
        queue.files[batch["output_file_id"]] = whole[: len(whole) // 2]
        for status in ("completed", "expired"):
            batch["status"] = status
            with pytest.raises(
                pillm.Unavailable, match=r"holds 3 results, 1 could be read.*give_up=true.*1 answered.*2 pending"
            ):
                go(queue, tmp_path, 3)
        queue.files[batch["output_file_id"]] = whole
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


@pytest.mark.parametrize("body", [{}, {"error": "no"}])
def test_a_batch_without_an_id_is_none(tmp_path: Path, body: dict[str, Any]) -> None:
    with BatchQueue() as queue:
        queue.refuse["POST /v1/batches"] = (200, body)
        with pytest.raises(pillm.Unavailable, match="did not take the batch"):
            go(queue, tmp_path, 2)
        queue.refuse.clear()
        assert len(answers(go(queue, tmp_path, 2))) == 2


@pytest.mark.parametrize(
    ("status", "body"), [(404, {"error": {"message": "gone"}}), (200, {"data": None}), (200, {"no": "list"})]
)
def test_a_list_that_cannot_be_read_does_not_say_that_a_batch_never_arrived(
    tmp_path: Path, status: int, body: dict[str, Any]
) -> None:
    with BatchQueue() as queue:
        queue.cut_after_creating = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3)
        queue.cut_after_creating = False
        queue.refuse["GET /v1/batches"] = (status, body)
        for _ in range(2):
            with pytest.raises(pillm.Unavailable, match="did not list its batches"):
                go(queue, tmp_path, 3)
        queue.refuse.clear()
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


def test_a_batch_that_the_server_forgot_is_given_up_on_demand(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 6, batch_wait=False)
        queue.held = False
        queue.refuse["GET /v1/batches/batch_0"] = (404, {"error": {"message": "no such batch"}})
        with pytest.raises(pillm.Unavailable, match=r"no such batch.*batch_give_up=true.*3 answered.*3 pending"):
            go(queue, tmp_path, 6)
        assert len(answers(go(queue, tmp_path, 6, batch_give_up=True))) == 6
    assert len(queue.batches) == 3


def test_a_server_that_is_down_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.refuse["GET /v1/batches/batch_0"] = (503, {})
        threading.Timer(0.05, queue.refuse.clear).start()
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


def test_a_quota_that_ends_within_a_batch_stops_the_next_one(tmp_path: Path) -> None:
    def respond(body: dict[str, Any]) -> dict[str, Any]:
        spent = {"error": {"message": "nothing left", "code": "insufficient_quota"}}
        return {"response": {"status_code": 429, "body": spent}, "error": None}

    with BatchQueue(respond) as queue:
        with pytest.raises(pillm.Unavailable, match="nothing left"):
            go(queue, tmp_path, 9, batches=1)
        assert len(queue.batches) == 1
        queue.respond = shout
        assert len(answers(go(queue, tmp_path, 9))) == 9


def test_a_server_that_keeps_no_metadata_is_known_by_the_name_of_the_file(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.keeps_metadata, queue.cut_after_creating = False, True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3)
        queue.cut_after_creating = False
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


def test_a_list_without_an_end_is_left(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.turns_pages = False
        for _ in range(3):
            queue.files["theirs"] = b""
            queue.create({"input_file_id": "theirs", "metadata": {"x": "y"}})
        with pytest.raises(pillm.BatchError, match="the same page again"):
            teacher(queue).find("n")


def test_a_list_that_is_forbidden_holds_up_the_rows_of_its_batch_alone(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.cut_after_creating = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3)
        queue.cut_after_creating = False
        queue.refuse["GET /v1/batches"] = (403, {"error": {"message": "not with this key"}})
        with pytest.raises(pillm.Unavailable, match=r"not with this key.*batch_give_up=true.*4 answered.*3 pending"):
            go(queue, tmp_path, 7)
        assert len(answers(go(queue, tmp_path, 7, batch_give_up=True))) == 7


def test_a_proxy_that_finds_nothing_does_not_say_that_a_batch_is_gone(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3, batch_wait=False)
        queue.refuse["GET /v1/batches/batch_0"] = (404, b"<html>404</html>")
        with pytest.raises(pillm.Unavailable, match="404"):
            go(queue, tmp_path, 3, batch_give_up=True)
        queue.held = False
        queue.refuse.clear()
        assert len(answers(go(queue, tmp_path, 3))) == 3
    assert len(queue.batches) == 1


def test_a_status_nobody_knows_has_ended_where_there_are_results(tmp_path: Path) -> None:
    with BatchQueue() as queue:
        queue.held = True
        with pytest.raises(pillm.Unavailable):
            go(queue, tmp_path, 3, batch_wait=False)
        queue.end(queue.batches["batch_0"], "SUCCESS")
        assert len(answers(go(queue, tmp_path, 3))) == 3


def test_an_absurd_usage_is_none_and_costs_no_answer(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 10**20, "total_tokens": 1}

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        line = shout(body)
        line["response"]["body"] |= {"usage": usage}
        return line

    with BatchQueue(respond) as queue:
        assert len(answers(go(queue, tmp_path, 2))) == 2
