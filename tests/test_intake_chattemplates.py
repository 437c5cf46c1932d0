from __future__ import annotations

import json
import subprocess
import sys

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import pillm
from pillm.intake.chattemplates import CONVERSATIONS, chat_environment, try_template
from pillm.intake.faults import Fault
from pillm.testing.hostiletemplates import ESCAPES, EXHAUSTIONS, PATIENT, SOUND

WATCHED = """
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template
from pillm.intake.chattemplates import CONVERSATIONS, Watch, try_template
from pillm.intake.faults import Fault
from pillm.testing.hostiletemplates import ESCAPES
watch = Watch()
sys.addaudithook(watch)
for template in ("{{ '\\\\n' + messages | tojson }}{{ strftime_now('%d') }}", "{{ raise_exception('no') }}"):
    try:
        try_template(template, {})
    except Fault:
        pass
    try:
        render_jinja_template([CONVERSATIONS[0]["messages"]], chat_template=template)
    except Exception:
        pass
refused = 0
for template in ESCAPES:
    watch.active = True
    try:
        try_template(template, {})
    except Fault:
        refused += 1
    for conversation in CONVERSATIONS:
        try:
            render_jinja_template([conversation["messages"]], chat_template=template, tools=conversation["tools"])
        except Exception:
            pass
    watch.active = False
print(json.dumps({"seen": watch.seen, "refused": refused}))
"""


@pytest.mark.parametrize("template", SOUND)
def test_renderings_are_those_of_transformers(template: str) -> None:
    mine = chat_environment().from_string(template)
    for conversation in CONVERSATIONS:
        given = {**conversation, "bos_token": "<s>"}
        messages, tools = given.pop("messages"), given.pop("tools")
        try:
            given["add_generation_prompt"] = True
            (theirs,), _ = render_jinja_template([messages], tools=tools, chat_template=template, **given)
        except jinja2.TemplateError as error:
            with pytest.raises(jinja2.TemplateError, match=str(error)[:20]):
                mine.render(messages=messages, tools=tools, **given)
            continue
        assert mine.render(messages=messages, tools=tools, **given) == theirs


@pytest.mark.parametrize("template", [*SOUND, PATIENT])
def test_sound_templates_pass_also_those_that_refuse_a_conversation(template: str) -> None:
    try_template(template, {"bos_token": "<s>"})
    pillm.check_chat_template(template, "a test")


def test_no_escape_makes_python_run_connect_or_write_anything() -> None:
    assert len(ESCAPES) >= 30
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["seen"] == []
    assert said["refused"] >= 20  # the others come to nothing by themselves


REACHING = ("__import__('os').system('true')", "open('/dev/null', 'w')", "eval('1')", "__import__('socket')")


@pytest.mark.parametrize("code", REACHING)
def test_the_watch_hears_what_an_escape_would_do(code: str) -> None:
    program = (
        f"import sys; from pillm.intake.chattemplates import Watch; w = Watch(); sys.addaudithook(w); w.active = True\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "PermissionError: a chat template must not" in done.stderr


def test_a_template_that_escapes_or_writes_without_end_is_a_fault() -> None:
    with pytest.raises(Fault, match="reaches for what it must not"):
        try_template("{{ messages.__class__.__mro__ }}", {})
    with pytest.raises(Fault, match="characters of a short conversation"):
        try_template("{{ 'x' * 9000000 }}", {})
    with pytest.raises(Fault, match="takes more depth"):
        try_template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", {})
    with pytest.raises(Fault, match="cannot be read") as caught:
        try_template("{% for %}", {})
    assert caught.value.broken
    assert len(EXHAUSTIONS) >= 10


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{% for i in range(10 ** 9) %}x{% endfor %}", "{{ missing.a.b }}"]
)
def test_a_template_that_renders_not_even_one_question_is_broken(template: str) -> None:
    with pytest.raises(Fault, match="renders no conversation, not even one question") as caught:
        try_template(template, {})
    assert caught.value.broken


def test_a_reason_ends_with_one_full_stop() -> None:
    with pytest.raises(pillm.PillmError) as caught:
        pillm.check_chat_template("{{ messages.__class__.__mro__ }}", "a test")
    assert ".." not in str(caught.value)


def test_a_namespace_hides_nothing() -> None:
    for template in ("{% set n = namespace(_a=1) %}", "{% set n = namespace() %}{% set n._a = 1 %}"):
        with pytest.raises(jinja2.exceptions.SecurityError):
            chat_environment().from_string(template).render()
    assert chat_environment().from_string("{% set n = namespace(self=1) %}{{ n.self }}{{ dict(a=1) }}").render() == "1{'a': 1}"
