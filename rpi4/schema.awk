# Name the keywords of a JSON Schema that llama.cpp's programs pass over, one a line. What stands in it as a name or as a value is no
# keyword: an object's keys are keywords, names (below `properties`, say) or values (below `const`, say).
BEGIN {
    split("propertyNames patternProperties dependentRequired dependentSchemas dependencies not if then else uniqueItems contains " \
          "minContains maxContains multipleOf minProperties maxProperties unevaluatedProperties unevaluatedItems", words, " ")
    for (at in words) passed[words[at]] = 1
    split("properties patternProperties $defs definitions dependentSchemas", words, " ")
    for (at in words) below[words[at]] = "names"
    split("const enum default examples", words, " ")
    for (at in words) below[words[at]] = "values"
    kind[0] = "keywords"
}
{ text = text $0 "\n" }
END {
    while (match(text, /["{}[]|\]/)) {
        mark = substr(text, RSTART, 1)
        text = substr(text, RSTART)
        length_ = 1
        if (mark == "\"") {
            if (!match(text, /^"([^"\\]|\\.)*"/)) exit
            length_ = RLENGTH
            word = substr(text, 2, RLENGTH - 2)
        } else if (mark == "}" || mark == "]") {
            depth--
        } else {
            depth++
            key[depth] = ""
            kind[depth] = kind[depth - 1] != "keywords" ? (kind[depth - 1] == "names" ? "keywords" : "values") : \
                          (key[depth - 1] in below) ? below[key[depth - 1]] : "keywords"
        }
        text = substr(text, length_ + 1)
        if (mark == "\"" && match(text, /^[ \t\r\n]*:/)) {
            key[depth] = word
            if (kind[depth] == "keywords" && word in passed) found[word] = 1
        }
    }
    for (word in found) print word
}
