"""Chat templates: what reaches out of a template is found however it is spelled; honest ones raise nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.jinja_templates import analyse

pytestmark = pytest.mark.unit

ESCAPES = {
    "dunder attribute": "{{ ''.__class__ }}",
    "walk to all classes": "{{ ().__class__.__base__.__subclasses__()[140]('true') }}",
    "method resolution order": "{{ x.mro() }}",
    "subscript": "{{ x['__class__'] }}",
    "subscript in pieces": "{{ x['__cl' + 'ass__'] }}",
    "subscript with a tilde": "{{ x['__cl' ~ 'ass__'] }}",
    "subscript by a variable": "{% set a = '__glo' %}{% set b = 'bals__' %}{{ x[a ~ b] }}",
    "repeated underscores": "{% set u = '_' * 2 %}{{ x[u ~ 'class' ~ u] }}",
    "joined": "{{ x[['__cla', 'ss__']|join] }}",
    "reversed": "{{ x['__ssalc__'|reverse] }}",
    "replaced": "{{ x['XXclassXX'|replace('X', '_')] }}",
    "lowered": "{{ x['__CLASS__'|lower] }}",
    "attr filter": "{{ x|attr('__init__') }}",
    "attr filter with pieces": "{{ x|attr('__in' ~ 'it__') }}",
    "attr filter of a request": "{{ x|attr(request.args.a) }}",
    "attr filter of a message": "{{ x|attr(messages[0].content) }}",
    "attr through map": "{{ [x]|map('attr', '__class__')|list }}",
    "attribute of map": "{{ [x]|map(attribute='__class__')|list }}",
    "attribute of groupby": "{{ [x]|groupby('__class__') }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
    "joiner": "{{ joiner.__init__.__globals__ }}",
    "namespace": "{{ namespace.__init__.__globals__ }}",
    "lipsum": "{{ lipsum|string }}",
    "self": "{{ self._TemplateReference__context }}",
    "undefined": "{{ nothing.__init__.__globals__['__builtins__'] }}",
    "in a condition": "{% if x.__class__ %}a{% endif %}",
    "in a loop": "{% for c in x.__subclasses__() %}{{ c }}{% endfor %}",
    "in a macro": "{% macro m(x) %}{{ x.__class__ }}{% endmacro %}{{ m(1) }}",
    "generator frame": "{{ x.gi_frame.f_globals }}",
    "format text": "{{ '{0.__class__}'.format(x) }}",
    "escaped letters": "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "eval": "{{ eval('1') }}",
    "open": "{{ open('/etc/passwd').read() }}",
    "import by name": "{{ __import__('os') }}",
    "method system": "{{ os.system('true') }}",
    "include": "{% include '/etc/passwd' %}",
    "import a template": "{% import name as x %}",
    "built by format": "{{ x['%c%c' % (95, 95) + 'class'] }}",
    "filter block": "{% filter attr('__class__') %}x{% endfilter %}",
}

HONEST = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "instructions": (
        "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' ~ m.content.strip() ~ ' [/INST]' }}"
        "{% endfor %}"
    ),
    "tools": (
        "{% set ns = namespace(system='') %}{% for tool in tools %}{% set ns.system = ns.system ~ tool|tojson %}"
        "{% endfor %}{{ messages[1:]|selectattr('role', 'equalto', 'user')|list|length }}{{ ns.system }}"
    ),
    "macro": (
        "{% macro kind(spec) %}{{ spec['type'] if spec.type is string else spec|map(attribute='type')|join('|') }}"
        "{% endmacro %}{{ kind(tools[0].function.parameters) }}{{ strftime_now('%d %b %Y') }}"
    ),
    "generation marks": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loop control": "{% for m in messages[::-1] %}{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}",
    "thinking": "{{ m.content.split('</think>')[-1].lstrip('\\n') }}{{ messages[loop.index0 + 1].role }}",
}


@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES)
def test_a_template_that_reaches_out_is_found(source: str) -> None:
    found = list(analyse(source))
    assert any(trouble.rule.severity.rank >= Severity.HIGH.rank for trouble in found), found


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST)
def test_an_honest_chat_template_raises_nothing(source: str) -> None:
    assert list(analyse(source)) == []


def test_an_unknown_helper_is_worth_a_look_and_no_alarm() -> None:
    (trouble,) = analyse("{{ house_style(messages) }}")
    assert (trouble.rule.severity, trouble.subject) == (Severity.MEDIUM, "house_style")


def test_a_finding_names_the_line() -> None:
    assert [trouble.line for trouble in analyse("a\nb\n{{ x.__class__ }}")] == [3]


_PARTS = (
    "{{", "}}", "{%", "%}", "x", ".", "__class__", "|attr(", "'a'", "~", "*", "2", "[", "]", "(", ")", " if ", " for ",
    "set a =", "{#",
)  # fmt: skip


@pytest.mark.fuzz
@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_PARTS), max_size=40).map("".join))
def test_any_text_is_analysed_or_refused_in_words(source: str) -> None:
    try:
        outcome = [trouble.message for trouble in analyse(source)]
    except TemplateError as err:
        outcome = [str(err)]
    assert all(outcome)


def test_names_that_multiply_each_other_are_refused_and_not_followed_for_ever() -> None:
    tenfold = "".join(f"{{% set a{n + 1} = {' ~ '.join([f'a{n}'] * 10)} %}}" for n in range(9))
    with pytest.raises(TemplateError, match="steps"):
        list(analyse("{% set a0 = 'x' %}" + tenfold + "{{ x[a9] }}"))
