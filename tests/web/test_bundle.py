# SPDX-License-Identifier: MIT
"""bundle.py joins what it knows and refuses the rest; embed.py makes a page whose policy allows just its own code."""
import base64
import gzip
import hashlib
import pathlib
import re
import sys

import pytest

WEB = pathlib.Path(__file__).resolve().parents[2] / "reader/web"
sys.path.insert(0, str(WEB))
import bundle  # noqa: E402
import embed  # noqa: E402

PAGE_SIZE_MAX = 200 * 1000


def write(folder, **modules):
    for name, text in modules.items():
        (folder / (name + ".mjs")).write_text(text)
    return folder / "main.mjs"


def page():
    return embed.page(WEB)


def code():
    """The script that the page carries."""
    packed = re.search('<script type="application/octet-stream" id="code">(.*?)</script>', page()).group(1)
    return gzip.decompress(base64.b64decode(packed)).decode()


def test_modules_come_after_what_they_import_and_only_once(tmp_path):
    main = write(tmp_path,
                 main="import { b } from './b.mjs';\nimport { a } from './a.mjs';\nexport const main = a + b;\n",
                 b="import { a } from './a.mjs';\nexport const b = a;\n", a="export const a = 1;\n")
    text = bundle.bundle(main)
    assert text.index("const a = 1") < text.index("const b = a") < text.index("const main = a + b")
    assert text.count("const a = 1") == 1
    assert "return { a, b, main };" in text
    assert "import" not in text and "export" not in text


@pytest.mark.parametrize("line, complaint", [
    ("import x from './a.mjs';", "one line"),
    ("import * as x from './a.mjs';", "one line"),
    ("import { a as b } from './a.mjs';", "one line"),
    ("import {\n\ta,\n} from './a.mjs';", "one line"),
    ("import { a } from 'a';", "one line"),
    ("import { missing } from './a.mjs';", "does not export missing"),
    ("import { a } from './none.mjs';", "no module"),
    ("export default 1;", "export must be"),
    ("export { a };", "export must be"),
    ("export * from './a.mjs';", "export must be"),
    ("export var b = 1;", "export must be"),
    ("const { a } = b;", "destructure"),
    ("const b = import('./a.mjs');", "dynamic import"),
    ("const b = import.meta.url;", "import.meta"),
    ("const b = `x", "end on its line"),
    ("const b = '</script>';", "end the page's script"),
    ("const b = '<!--';", "<!--"),
    ("import { a } from './a.mjs';\nconst a = 2;", None),
    ("import { a } from './a.mjs';\nfunction a() {}", "also a top-level name"),
])
def test_anything_outside_the_grammar_is_refused(tmp_path, line, complaint):
    main = write(tmp_path, main=line + "\n", a="export const a = 1;\n")
    with pytest.raises(bundle.BundleError) as error:
        bundle.bundle(main)
    assert complaint is None or complaint in str(error.value)


def test_modules_that_import_each_other_are_refused(tmp_path):
    main = write(tmp_path, main="import { b } from './b.mjs';\nexport const a = 1;\n",
                 b="import { a } from './main.mjs';\nexport const b = 1;\n")
    with pytest.raises(bundle.BundleError, match="import each other"):
        bundle.bundle(main)


def test_the_page_is_small_and_its_policy_names_its_code():
    text = page()
    assert len(text.encode()) < PAGE_SIZE_MAX
    allowed = {}
    for element in ("script", "style"):
        found = re.findall("<{0}>(.*?)</{0}>".format(element), text, re.S)
        assert len(found) == 1
        allowed[element] = [base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()]
    allowed["script"].append(base64.b64encode(hashlib.sha256(code().encode()).digest()).decode())
    for element, digests in allowed.items():
        assert "{}-src {};".format(element, " ".join("'sha256-{}'".format(digest) for digest in digests)) in text
    assert code() == bundle.bundle(WEB / "main.mjs")
    assert "default-src 'none'" in text
    assert "unsafe" not in text.split("<style>")[0]


def test_the_page_names_no_other_address():
    text = page() + code()
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}", text)
    assert not re.search(r"\bsrc=", text)
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function)\s*[(=]", text)


def test_every_module_and_style_is_in_the_page_and_watched_by_the_build(tmp_path):
    text = page() + code()
    embed.main(str(tmp_path / "page.c"), WEB, str(tmp_path / "page.c.d"))
    watched = (tmp_path / "page.c.d").read_text().split()
    assert watched[0] == str(tmp_path / "page.c") + ":"
    for module in WEB.glob("*.mjs"):
        assert "// ---- " + module.name in text, module.name
        assert str(module) in watched
    for style in WEB.glob("*.css"):
        assert style.read_text().splitlines()[1] in text, style.name
        assert str(style) in watched
    assert str(WEB) in watched


def test_parts_put_together_are_the_page():
    pieces = embed.parts(page())
    assert [slot for _, slot in pieces] == ["title", "summary", "columns", "meta", "end"]
    source = embed.c_source(pieces)
    arrays = re.findall(r"part_\d\[\] = \{(.*?)\};", source, re.S)
    assert b"".join(bytes(int(n) for n in re.findall(r"\d+", array)) for array in arrays).decode() == \
        "".join(text for text, _ in pieces)
