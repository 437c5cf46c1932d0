from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.ollama.gotemplate import GoTemplate, Unsupported

DATA = {"System": "S", "Empty": "", "Messages": [{"Role": "user", "Content": "a"}, {"Role": "assistant", "Content": "b"}]}


def said(source: str) -> str:
    return GoTemplate(source).execute(DATA)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x {{ .System }} y", "x S y"),
        ("x {{- .System -}} y", "xSy"),
        ("a\n{{- if .System }}\nb\n{{- end }}\nc", "a\nb\nc"),
        ("{{ if .Empty }}x{{ end }}|", "|"),
        ("{{ if .Empty }}x{{ else if .System }}y{{ else }}z{{ end }}", "y"),
        ("{{ if .Empty }}x{{ else if .Empty }}y{{ else }}z{{ end }}", "z"),
        ("{{ range .Messages }}[{{ .Role }}:{{ .Content }}]{{ end }}", "[user:a][assistant:b]"),
        ("{{ range $i, $m := .Messages }}{{ if eq $i 1 }}{{ $m.Content }}{{ end }}{{ end }}", "b"),
        ("{{ range $i, $_ := .Messages }}{{ $x := eq (len (slice $.Messages $i)) 1 }}{{ if $x }}!{{ end }}{{ end }}", "!"),
        ('{{ range .Messages }}{{ if ne .Role "user" }}{{ $.System }}{{ end }}{{ end }}', "S"),
        ('{{ if and .System .Empty }}x{{ else }}{{ if or .Empty .System }}y{{ end }}{{ end }}', "y"),
        ("{{ if not .Empty }}x{{ end }}", "x"),
        ('{{ if eq .System "a" "S" }}x{{ end }}', "x"),
        ('{{ "quoted \\"text\\"" }}', 'quoted "text"'),
    ],
)  # fmt: skip
def test_an_action_says_what_it_says_in_go(source: str, expected: str) -> None:
    assert said(source) == expected


def test_a_variable_lives_until_its_block_ends() -> None:
    with pytest.raises(Unsupported, match=r"\$x was never set"):
        said("{{ if .System }}{{ $x := .System }}{{ end }}{{ $x }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ .System | html }}", '{{ template "x" }}', "{{ if .System }}", "{{ end }}", "{{ else }}", "{{ .System",
        "{{ .Nothing }}", "{{ .Messages }}", "{{ len .Messages }}", "{{ range .System }}{{ end }}", "{{ call .X }}",
        "{{ (.System }}", "{{ }}", "{{ if .System }}a{{ else }}b{{ else }}c{{ end }}", "{{ .System .Empty }}",
        "{{ System }}", "{{/* c */}}",
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_and_never_guessed(source: str) -> None:
    with pytest.raises(Unsupported):
        said(source)


@given(st.text(alphabet='{}-.$ "ifelsndrage_SMx\n', max_size=60))
def test_any_text_is_evaluated_or_refused(source: str) -> None:
    with suppress(Unsupported):
        assert isinstance(said(source), str)


def test_blocks_that_stand_too_deep_are_refused() -> None:
    with pytest.raises(Unsupported, match="deeper than"):
        GoTemplate("{{ if .System }}" * 200 + "{{ end }}" * 200)
