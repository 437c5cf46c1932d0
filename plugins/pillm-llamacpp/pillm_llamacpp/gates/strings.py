"""Strings on which tokenizers disagree: what every export is tried with, beside the rows of its data.

All are in Unicode's NFC form: llama.cpp normalises no text, and some tokenizers do.
"""

from __future__ import annotations

import unicodedata

HARD_STRINGS: tuple[str, ...] = (
    "a", " a", "a ", "  a", "a  b", "a   b", " ", "  ", "\t", "\n", "\n\n", " \n ", "a\nb", "a\r\nb", "\r\n\r\n",
    "a\tb\t\tc", "1", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000.50 $", "11h45", "8 h 30",
    "2026-11-20T08:05:00-05:00", "514-555-0199", "50 %", "100%", "n°42", "½ tasse", "x² + y² = z²", "it's", "IT'S",
    "I'm we'll they've you'd he's", "L'ÉTÉ", "aujourd'hui", "qu’est-ce que c’est", "j'm'en vas à l'épicerie",
    "Où est-ce qu'y'a d'l'eau?", "Ça coûte-tu cher?", "« Bonjour », dit-il…", "œuf, cœur, Noël, naïf, Gaspé", "straße",
    "Łódź", "Ελλάδα", "Привет, мир", "日本語のテキスト", "你好，世界！", "한국어 문장", "สวัสดีชาวโลก", "नमस्ते दुनिया",
    "مرحبا بالعالم", "שלום עולם", "é", "ñ", "ǅ", "ﬁn", "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇦", "👍🏽", "a😀b", "😀😀😀",
    "zero\u200bwidth", "soft\u00adhyphen", "no\u00a0break",
    '{"name": "create_event", "arguments": {"title": "Dîner", "n": 3, "ok": true, "x": null}}',
    "def f(x):\n    return x ** 2  # carré\n", "<b>bold</b> & <i>italic</i>", "C:\\Users\\a b\\c.txt",
    "a_b-c.d/e?f=g&h=i#j", "user@example.com", "https://example.com/a?b=c%20d", "```json\n[1, 2]\n```", "!!!???...",
    "--- *** ___", "((([[[{{{}}}]]])))", "snake_case camelCase PascalCase SCREAMING_CASE",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "AbCdEfGhIjKlMnOp", "The quick brown fox jumps over the lazy dog.",
    "Portez ce vieux whisky au juge blond qui fume.",
    # blanks
    "", "   ", "    ", "     a", "a     ", "a      b       c", "\t\t", " \t ", "\ta", "a\t", "\n\n\n", "\n \n", "\n\t\n",
    "a\n\n\nb", "a \n b", "a\n  b\n    c", "\r", "a\rb", "\r\n", "a \r\n\r\n b", "a\u00a0b", "\u00a0", "a\u2009b",
    "a\u202fb", "a\u3000b", "fin.\n", "\ndébut", " \u00a0 ", "a  .", "( a )", "a , b ; c : d", "  \n\n  x", "x\n\n  ",
    # numbers
    "0", "007", "00", "1234567", "123456789", "1e-5", "-42", "+1", "1/2", "1.", ".5", "1,5", "12 345", "1 000 000",
    "3:45", "v1.2.3", "0x1F", "1st 2nd 3rd", "4x4", "a1b2c3", "H2O", "2×3=6", "10^-3", "99,99 €", "5°C", "24h/24",
    "IPv4 192.168.0.1", "①②③", "Ⅷ", "٣٤", "१२३", "１２３", "№ 5", "1\n2\n3", "2026年11月20日",
    # contractions and capitals
    "'s", "'S", "'re", "'RE", "'ll", "'LL go", "can't've", "CAN'T", "rock 'n' roll", "'tis", "y'all'd've", "'''", "d'",
    "l' eau", "L’été", "QU'EST-CE", "it’s", "o'clock", "'em", "''s", "a's b's", "Don'T", "ain't.I've", "s'il vous plaît",
    # words and signs
    "iPhone eBay", "XMLHttpRequest", "ÀÉÎÕÜ", "àéîõü", "ÉCOLE École", "ŒUVRE", "İstanbul ıspanak", "ß ẞ", "ŉ", "dž ǆ",
    "Ångström", "façade", "co-operate", "e-mail", "peut-être", "mother-in-law", "and/or", "C++", "C#", "F#.NET", ".NET",
    "#hashtag", "@user", "$5", "€5", "£5.00", "...", "…", "!!", "?!", "¿Qué?", "¡Hola!", "--", "—", "a—b", "a – b",
    "“quoted”", "‘single’", "«a»", "‹b›", "* * *", "•", "→ ← ↑ ↓", "≤ ≥ ≠ ≈", "∑∫√∞", "©®™", "§ 12", "¶", "†‡",
    "~/.bashrc", "a|b||c", "a&&b", "x=y==z", "<<>>", "{}[]()", "\\n", "\\", "/*c*/ //d", "a=1;b=2;", "foo(bar)[0].baz",
    "$HOME/${x}", "%d %s\\t", "`code`", "**bold** _it_", "| a | b |\n|---|---|", "- [ ] todo\n- [x] done", "<!-- c -->",
    "&amp;&lt;", "SELECT * FROM t WHERE a='b';", '#!/bin/sh\necho "hi"\n', "\tif x:\n\t\treturn\n",
    '{"a":{"b":[1,2,{"c":null}]}}', '[{"x": -1.5e3}, true]', "key: value\nlist:\n  - a\n  - b\n",
    # other scripts
    "Ένα δύο", "ЁЖИК ёжик", "Україна", "Հայերեն", "ქართული", "አማርኛ", "বাংলা", "தமிழ்", "తెలుగు", "ಕನ್ನಡ", "മലയാളം",
    "ગુજરાતી", "ਪੰਜਾਬੀ", "ລາວ", "မြန်မာ", "ខ្មែរ", "བོད་ཡིག", "Tiếng Việt", "ᐃᓄᒃᑎᑐᑦ", "فارسی۱۲۳", "اَلْعَرَبِيَّةُ",
    "עִבְרִית", "漢字とカナ", "ｶﾀｶﾅ", "繁體中文", "简体中文。", "한국어, 조선말!", "a日b本c", "日本 語", "mixedкириллица",
    "naïve café Zürich", "𝔘𝔫𝔦", "𝟙𝟚", "𠮷野家", "ʻokina", "ɪpə",
    # signs of more than one code point
    "👋", "👋👋🏿", "❤️", "☕️", "1️⃣", "🇫🇷🇨🇦", "🏴‍☠️", "👨‍💻", "a👍b", "👍 👍", "\u200b", "a\u200db", "\ufeffbom",
    "\u2028", "a\u0085b", "\u200eltr", "\ufffd", "\x07", "\x1b[31mred\x1b[0m", "\x7f",
    # what looks like a special token, or is one
    "<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>",
    "[INST] a [/INST]", "[CLS]", "[MASK]", "<bos>", "<eos>", "<start_of_turn>user", "<think>\nhm\n</think>", "<0x0A>",
    "<|", "|>", "<|im_end", "a<|im_end|>b", "##ing", "a▁b", "▁", "Ġ", "Ċ", "<tool_call>{}</tool_call>",
    # long ones
    "a" * 300, "1" * 100, " " * 100, "ab " * 60, "é" * 80, "!" * 70, "\n" * 20, "日" * 60, "aB" * 50, "😀" * 30,
    "anticonstitutionnellement" * 4,
)  # fmt: skip


def _word_piece_differs(text: str) -> bool:
    marks = any(unicodedata.category(letter) in ("Mc", "Me") for letter in unicodedata.normalize("NFD", text))
    korean = any("가" <= letter <= "힣" for letter in text)
    return marks or korean or "\u0085" in text or "▁" in text or any(len(word) > _LONGEST_WORD for word in text.split())


_LONGEST_WORD = 100
NOT_FOR_WORD_PIECE = frozenset(filter(_word_piece_differs, HARD_STRINGS))
"""What llama.cpp is known to split otherwise than BERT's own tokenizer, whatever the vocabulary.

It drops spacing and enclosing marks with the accents (Hindi, Bengali), takes Korean syllables apart wrongly, takes NEL and the
sign of a space for blanks, and knows no longest word.
"""
