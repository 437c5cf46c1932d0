"""Chat templates that were made to do harm: some reach for Python, some take all time or memory, some wait for a word."""

from __future__ import annotations

from typing import Final

ESCAPES: Final[tuple[str, ...]] = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__base__.__subclasses__()[0].__init__.__globals__ }}",
    "{{ messages.__class__.__init__.__globals__['os'].system('id') }}",
    "{{ messages[0].__class__.__mro__ }}",
    "{{ (messages | attr('__class__')) }}",
    "{{ messages | attr('__cla' ~ 'ss__') | attr('__mro__') }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('id').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['__builtins__']['__import__']('os').system('id') }}",
    "{{ raise_exception.__globals__['__builtins__'] }}",
    "{{ raise_exception.__code__.co_consts }}",
    "{{ strftime_now.__globals__.sys.modules }}",
    "{{ strftime_now.__closure__ }}",
    "{{ range.__self__ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ dict.mro()[1].__subclasses__() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment.loader }}",
    "{{ ('{0.__class__.__mro__}').format(messages) }}",
    "{{ '{a.__class__.__base__}'.format_map({'a': 1}) }}",
    "{% set f = '{0.__class__.__init__.__globals__}'.format %}{{ f(cycler) }}",
    "{{ ['{0.__class__}'] | map('format', messages) | list }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{% set ns = namespace(__class__=1) %}{{ ns.__class__ }}",
    "{% set ns = namespace() %}{% set ns.__init__ = 1 %}{{ ns }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ messages.append('x') }}{{ messages.__reduce_ex__(2) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{% extends '/etc/passwd' %}",
    "{{ (messages | map('__class__')) | list }}",
)
"""Each tries to leave the sandbox: through attributes, filters, formatting, globals, or the loader."""

EXHAUSTIONS: Final[tuple[str, ...]] = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'x' * 3000000000 }}",
    "{% set ns = namespace(t='x') %}{% for a in range(64) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ [0] * 999999999 }}",
    "{% for a in range(99999) %}{{ ' ' * 99999 }}{% endfor %}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ 'x'.ljust(999999999).ljust(1999999999) }}",
    "{{ (range(99999) | list) | batch(1) | map('list') | list | string * 4000 }}",
    "{% for a in range(99999) %}{{ range(99999) | list | sort | length }}{% endfor %}",
)
"""Each would take all the time or all the memory."""

PATIENT: Final = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% if 'abracadabra' in message['content'] %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    "{% endif %}{% endfor %}"
)
"""It is no other than a sound one until it reads a word."""

SOUND: Final[tuple[str, ...]] = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + message['role'] + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}",
    "{%- set ns = namespace(system='', index=messages|length - 1) %}{%- if tools %}{{- tools | tojson(indent=4) }}{%- endif %}"
    "{%- for message in messages[::-1] %}{%- set ns.index = ns.index - 1 %}{%- if message.tool_calls %}"
    "{%- for call in message.tool_calls %}{{- call.function.arguments | tojson }}{%- endfor %}{%- continue %}{%- endif %}"
    "{%- if message.content is string %}{%- generation %}{{- message.content.split('</think>')[-1].lstrip('\\n') }}"
    "{%- endgeneration %}{%- endif %}{%- endfor %}{{- strftime_now('%d %b %Y') }}",
)
"""Templates in the manner of the families that people distil."""
