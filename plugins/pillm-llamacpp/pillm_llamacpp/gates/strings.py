"""Strings on which tokenizers disagree: what a checkpoint without probes is tried with. All are in Unicode's NFC form."""

from __future__ import annotations

HARD_STRINGS = (
    "a", " a", "a ", "  a", "a  b", "a   b", " ", "  ", "\t", "\n", "\n\n", " \n ", "a\nb", "a\r\nb", "\r\n\r\n", "a\tb\t\tc",
    "1", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000.50 $", "11h45", "8 h 30",
    "2026-11-20T08:05:00-05:00",
    "514-555-0199", "50 %", "100%", "n°42", "½ tasse", "x² + y² = z²",
    "it's", "IT'S", "I'm we'll they've you'd he's", "L'ÉTÉ", "aujourd'hui", "qu’est-ce que c’est", "j'm'en vas à l'épicerie",
    "Où est-ce qu'y'a d'l'eau?", "Ça coûte-tu cher?", "« Bonjour », dit-il…", "œuf, cœur, Noël, naïf, Gaspé",
    "straße", "Łódź", "Ελλάδα", "Привет, мир", "日本語のテキスト", "你好，世界！", "한국어 문장", "สวัสดีชาวโลก", "नमस्ते दुनिया",
    "مرحبا بالعالم", "שלום עולם", "é", "ñ", "ǅ", "ﬁn",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇦", "👍🏽", "a😀b", "😀😀😀", "zero\u200bwidth", "soft\u00adhyphen", "no\u00a0break",
    '{"name": "create_event", "arguments": {"title": "Dîner", "n": 3, "ok": true, "x": null}}',
    "def f(x):\n    return x ** 2  # carré\n", "<b>bold</b> & <i>italic</i>", "C:\\Users\\a b\\c.txt", "a_b-c.d/e?f=g&h=i#j",
    "user@example.com", "https://example.com/a?b=c%20d", "```json\n[1, 2]\n```", "!!!???...", "--- *** ___",
    "((([[[{{{}}}]]])))",
    "snake_case camelCase PascalCase SCREAMING_CASE", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "AbCdEfGhIjKlMnOp",
    "The quick brown fox jumps over the lazy dog.", "Portez ce vieux whisky au juge blond qui fume.",
)  # fmt: skip
