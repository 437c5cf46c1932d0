from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from pillm.intake.chattemplates import chat_environment
from pillm.intake.rendering import limited_rendering
from pillm.testing.hostiletemplates import PATIENT

HUNGRY = """
from pillm.intake.rendering import limited_rendering
with limited_rendering(megabytes=64):
    try:
        bytearray(200 << 20)
    except MemoryError:
        print("refused")
print(len(bytearray(200 << 20)) >> 20)
"""


def test_a_template_that_waited_for_its_word_is_stopped() -> None:
    template = chat_environment().from_string(PATIENT)
    assert template.render(messages=[{"role": "user", "content": "bonjour"}]) == "user: bonjour\n"
    began = time.process_time()
    with pytest.raises(TimeoutError, match="too long over these messages"), limited_rendering(0.2):
        template.render(messages=[{"role": "user", "content": "abracadabra"}])
    assert time.process_time() - began < 2


def test_memory_is_limited_while_the_block_runs_and_not_after() -> None:
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "200"]


def test_nothing_is_left_behind() -> None:
    before = signal.getsignal(signal.SIGVTALRM), resource.getrlimit(resource.RLIMIT_AS)
    with limited_rendering(1.0, 512):
        pass
    assert (signal.getsignal(signal.SIGVTALRM), resource.getrlimit(resource.RLIMIT_AS)) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_in_another_thread_it_renders_without_a_guard() -> None:
    done: list[int] = []

    def work() -> None:
        with limited_rendering(0.01):
            done.append(sum(range(3_000_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
