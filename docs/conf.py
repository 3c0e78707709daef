"""Settings of the documentation site; `pages.py` writes what is generated, `site.py` is our part of Sphinx."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

# Nothing is computed here, and compiled functions have neither signature nor source: kernels stay as they were written.
import claimlab.native  # noqa: E402

claimlab.native.kernel = claimlab.native.fast_kernel = lambda function: function  # type: ignore[assignment]

project = "claimlab"
author = "the claimlab authors"
release = metadata.version("claimlab")
extensions = ["site_parts", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["README*"]
default_role = "literal"  # `x` in a docstring is code

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_param = False  # else the words of `float[n]` become links, to whatever is called n
napoleon_use_rtype = False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # the changelog and the contributing guide link to files of the repository
    "ref.python",  # two classes of one name in an annotation: the link leads to one of them
]

html_theme = "furo"
html_title = "claimlab"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
