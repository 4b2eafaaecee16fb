from mlu.runs.markdown import escaped_markdown


def test_text_is_one_line_and_no_markup():
    assert escaped_markdown("a\nb  c") == "a b c"
    assert escaped_markdown("<b>|*_`") == r"\<b\>\|\*\_\`"
