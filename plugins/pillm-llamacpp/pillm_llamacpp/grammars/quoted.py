"""Strings of JSON as expressions of a grammar: any, of a length, of a format."""

from __future__ import annotations

SAFE = r'[^"\\\x00-\x1F\x7F]'
"""A letter that stands for itself in a string."""
RULES = {
    "ws": '" "?',
    "hex": "[0-9a-fA-F]",
    # halves of surrogate pairs are no text; what they would stand for can be written as it is
    "char": SAFE + r' | "\\" ( ["\\/bfnrt] | "u" ( [0-9abcefABCEF] hex hex hex | [dD] [0-7] hex hex ) )',
    "string": r'"\"" char* "\""',
}
_DATE = (
    '[1-9] [0-9]{3} "-" ( ( "0" [13578] | "1" [02] ) "-" ( "0" [1-9] | [12] [0-9] | "3" [01] ) | '
    '( "0" [469] | "11" ) "-" ( "0" [1-9] | [12] [0-9] | "30" ) | "02-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] ) )'
)
_HOUR = '( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9]'
_TIME = f'{_HOUR} ":" [0-5] [0-9] ( "." [0-9]{{1,6}} )? ( "Z" | [-+] {_HOUR} )'
_HOST = '[a-z0-9] ( "-"? [a-z0-9] ){0,40} ( "." [a-z0-9] ( "-"? [a-z0-9] ){0,20} ){1,4}'
_PATH = '( "/" [a-zA-Z0-9._~-]{0,60} ){0,8} ( "?" [a-zA-Z0-9._~=&-]{1,120} )?'
_BYTE = '( [0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5] )'
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
    "email": f'[a-zA-Z0-9] ( [._+-]? [a-zA-Z0-9] ){{0,40}} "@" {_HOST}',
    "hostname": _HOST,
    "ipv4": f'{_BYTE} ( "." {_BYTE} ){{3}}',
    "ipv6": 'hex{1,4} ( ":" hex{1,4} ){7}',
    "uri": f'( "http" "s"? | "ftp" ) "://" {_HOST} ( ":" [1-9] [0-9]{{1,3}} )? {_PATH}',
    "duration": '"P" ( [0-9]{1,4} "D" ( "T" [0-9]{1,3} [HMS] )? | "T" [0-9]{1,4} [HMS] | [0-9]{1,4} [WMY] )',
}
"""Format of JSON Schema -> what stands between the quotes: a part of the format's language, never more."""


def quoted(expression: str) -> str:
    """Return a string whose content is an expression."""
    return f'"\\"" ( {expression} ) "\\""'


def of_length(low: int, high: int | None) -> str:
    """Return a string of `low` to `high` letters."""
    return f'"\\"" char{{{low},{"" if high is None else high}}} "\\""'
