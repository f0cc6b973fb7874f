"""What stands on a `%%chat` line, and what is said about a bad one."""

import pytest

from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.magics.chat_options import ChatOptions


def test_every_option_is_read():
    options = ChatOptions.parse(
        '-m tiny-chat -s "Be brief." -t 0.5 --max-tokens 9 --seed=-3 --tools add,now --var answer',
        is_line=False,
    )
    assert (options.model, options.system, options.var) == ("tiny-chat", "Be brief.", "answer")
    assert options.tools == ["add", "now"]
    assert options.settings() == {"temperature": 0.5, "max_tokens": 9, "seed": -3}


def test_a_line_prompt_keeps_its_quotes_braces_and_dashes():
    options = ChatOptions.parse("-t 0 what's {this} -- 'a' -m test?", is_line=True)
    assert options.prompt == "what's {this} -- 'a' -m test?"
    assert options.temperature == 0


def test_a_value_may_be_an_expression_with_spaces():
    line = "-m {{ model }} --system={{ {'a': 1} }} -t 0 Hi {{ name }}"
    options = ChatOptions.parse(line, is_line=True)
    assert (options.model, options.system) == ("{{ model }}", "{{ {'a': 1} }}")
    assert (options.temperature, options.prompt) == (0, "Hi {{ name }}")
    assert ChatOptions.parse("-m org/{{ name }}-4bit", is_line=False).model == "org/{{ name }}-4bit"


def test_an_empty_system_message_takes_it_away():
    for line in ('-s ""', "--system ''", '--system=""'):
        assert ChatOptions.parse(line, is_line=False).system == ""


def test_a_short_option_may_touch_its_value():
    options = ChatOptions.parse("-t0.5 -mtiny-chat Hi", is_line=True)
    assert (options.temperature, options.model, options.prompt) == (0.5, "tiny-chat", "Hi")


def test_two_dashes_end_the_options():
    assert ChatOptions.parse("-- -m is an option", is_line=True).prompt == "-m is an option"


def test_a_negative_number_is_a_prompt():
    assert ChatOptions.parse("-5 degrees?", is_line=True).prompt == "-5 degrees?"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--nonsense 3", "Unknown option --nonsense."),
        ("--foo=1", "Unknown option --foo."),
        ("-x 1", "Unknown option -x."),
        ("-t warm", "temperature must be between 0 and 2; you gave warm."),
        ("-t 9", "temperature must be between 0 and 2; you gave 9."),
        ("-t nan", "temperature must be between 0 and 2; you gave nan."),
        ("--max-tokens 0", "--max-tokens must be 1 or more; you gave 0."),
        ("--seed x", "--seed must be a whole number; you gave x."),
        ("--var 2x", "--var needs the name of a variable, not '2x'"),
        ("-m", "-m needs a value."),
        ("--system", "--system needs a value."),
        ("-m ''", "--model needs a value."),
        ("--md --json", "--json does not go with --md"),
        ("--keep-control", "--keep-control needs --raw"),
        ("--json hello", "write the prompt below"),
        ("hello", "write the prompt below it"),
    ],
)
def test_a_bad_line_is_told_in_one_sentence(line, said):
    with pytest.raises(BadMagic) as caught:
        ChatOptions.parse(line, is_line=False)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_take_no_value():
    options = ChatOptions.parse("--json --no-think --image a --image 'b c' Go --new", is_line=True)
    assert (options.format, options.think, options.new) == ("json", False, False)
    assert options.image == ["a", "b c"]
    assert options.prompt == "Go --new"
    assert options.settings() == {
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
        "response_format": {"type": "json_object"},
    }
