"""What pages say is there: commands and options, links, pictures, extras."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import napari_hcs_qc
from napari_hcs_qc.cli.parser import make_parser
from napari_hcs_qc.documents import parse_leniently
from napari_hcs_qc.qc.export.dictionary import COLUMNS, TABLES
from napari_hcs_qc.qc.plate_level.plate_rule import PlateRule
from napari_hcs_qc.screen.screen_spec import ScreenFile
from napari_hcs_qc.study.benchmark.benchmark_spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
with (ROOT / "pyproject.toml").open("rb") as _file:
    PROJECT: dict[str, Any] = tomllib.load(_file)["project"]
BLOCK = re.compile(r"^```(?:bash|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHER_TOOLS = {
    # pip, tox, pytest, torchrun, snakemake, Docker, Apptainer, Nextflow
    "--index-url", "--nproc-per-node", "--resources", "--gres", "--notest", "--retries",
}  # fmt: skip
"""Options of other programs that pages name."""


def texts(pages: dict[str, str]) -> dict[str, str]:
    """Give the pages for users, and the README."""
    not_users = ("contributing.md", "changelog.md", "architecture.md", "measurements.md")
    users = {name: text for name, text in pages.items() if not name.endswith(not_users)}
    return users | {"README.md": (ROOT / "README.md").read_text(encoding="utf-8")}


def command_lines(text: str) -> Iterator[str]:
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("hcs-qc "):
                yield line.partition(" # ")[0]


def test_every_command_line_on_the_site_is_one(pages: dict[str, str]) -> None:
    parser, n_lines = make_parser(), 0
    for name, text in texts(pages).items():
        for line in command_lines(text):
            n_lines += 1
            arguments = shlex.split(line.partition(" > ")[0])[1:]
            try:
                parser.parse_args(arguments)
            except SystemExit:
                pytest.fail(f"{name}: {line}")
    assert n_lines > 30


def test_every_option_that_a_page_names_is_one(pages: dict[str, str]) -> None:
    parser = make_parser()
    [subparsers] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    known = {
        option
        for command in (parser, *subparsers.choices.values())
        for option in command._option_string_actions
    }
    unknown = {
        f"{name}: {option}"
        for name, text in texts(pages).items()
        for span in re.findall(r"`([^`\n]+)`", text)
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)
        if option not in known | OTHER_TOOLS
    }
    assert unknown == set()


def test_every_extra_that_a_page_names_is_one(pages: dict[str, str]) -> None:
    extras = set(PROJECT["optional-dependencies"])
    named = {
        extra
        for text in texts(pages).values()
        for extras_ in re.findall(r"napari-hcs-qc\[([\w,]+)\]", text)
        for extra in extras_.split(",")
    }
    assert named and named <= extras
    listed = set(re.findall(r"`\[(\w+)\]`", pages["start/install.md"]))
    assert listed == extras


def test_every_setting_in_a_file_on_a_page_is_one(pages: dict[str, str], tmp_path: Path) -> None:
    blocks = {
        name: [re.sub(r"^# (\w+ = \")", r"\1", block, flags=re.MULTILINE) for block in found]
        for name, text in texts(pages).items()
        if (found := re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    }
    assert sorted(blocks) == ["guides/comparing.md", "screen.md"]
    for block in blocks["screen.md"]:
        file, problems = parse_leniently(ScreenFile, tomllib.loads(block))
        assert problems == [] and file.plate
        assert PlateRule(**file.rule)  # type: ignore[arg-type]
    (tmp_path / "plate1").mkdir()
    (tmp_path / "mitocheck").mkdir()
    (tmp_path / "labels.csv").touch()
    for block in blocks["guides/comparing.md"]:
        (tmp_path / "spec.toml").write_text(block, encoding="utf-8")
        assert len(read_spec(tmp_path / "spec.toml").sources) == 2


def test_every_column_that_a_page_names_is_one(pages: dict[str, str]) -> None:
    # Keys of --json and of files, and how names begin.
    others = {"exit_code", "format_version", "Metadata_cqc", *napari_hcs_qc.__all__}
    named = {
        f"{name}: {span}"
        for name, text in texts(pages).items()
        if not name.startswith("reference/")
        for span in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+|Metadata_\w+)`", text)
        if span not in COLUMNS.keys() | TABLES.keys() | others
    }
    assert named == set()


def test_every_name_of_the_api_that_a_page_uses_is_one(pages: dict[str, str]) -> None:
    """In code for readers: names of the package, methods of an assay, and their parameters."""
    codes = {
        f"{name} {number}": block
        for name, text in texts(pages).items()
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        )
    }
    n_names = 0
    for place, code in codes.items():
        for node in ast.walk(ast.parse(code)):
            match node:
                case ast.Attribute(value=ast.Name(id="cqc"), attr=name):
                    assert name in napari_hcs_qc.__all__, f"{place}: {name}"
                case ast.Attribute(value=ast.Name(id="assay"), attr=name):
                    assert hasattr(napari_hcs_qc.Assay, name), f"{place}: {name}"
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="cqc" | "assay") as owner, attr=name),
                    keywords=keywords,
                ):
                    owned = getattr(
                        napari_hcs_qc if owner.id == "cqc" else napari_hcs_qc.Assay, name
                    )
                    known = inspect.signature(owned).parameters
                    unknown = {keyword.arg for keyword in keywords} - set(known)
                    assert unknown == set(), f"{place}: {name}"
                case _:
                    continue
            n_names += 1
    assert n_names > 20


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page(pages: dict[str, str]) -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(_leaves(site["nav"])) == sorted(pages)


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav if isinstance(nav, list) else nav.values():
            yield from _leaves(entry)


def test_every_link_and_picture_is_there(pages: dict[str, str]) -> None:
    broken = []
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.partition("#")[0]
            if not path or re.match(r"https?:", path):
                continue
            place = (ROOT / "docs" / name).parent / path
            relative = Path(*place.parts).resolve().relative_to(ROOT / "docs")
            if relative.as_posix() not in pages and not place.is_file():
                broken.append(f"{name}: {target}")
    assert broken == []


def test_lines_to_type_fit_the_column_of_the_site(pages: dict[str, str]) -> None:
    made = ("citing.md", "changelog.md", "contributing.md")  # of files with rules of their own
    long = [
        f"{name}: {line}"
        for name, text in pages.items()
        if not name.startswith(made)
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if kind != "text" and len(line) > 80
    ]
    assert long == []


def test_a_list_has_a_blank_line_before_it(pages: dict[str, str]) -> None:
    """Without it mkdocs makes a list the end of the paragraph above; GitHub does not."""
    joined = [
        f"{name}: {line}"
        for name, text in pages.items()
        for line in re.findall(
            r"^(?![-*] |[#>|\s]|\d+\.).+\n([-*] .*)",
            re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL),
            re.MULTILINE,
        )
    ]
    assert joined == []


def test_no_code_shows_the_backslash_of_an_escape(pages: dict[str, str]) -> None:
    assert [name for name, text in pages.items() if re.search(r"`[^`\n]*\\\|[^`\n]*`", text)] == []


def load_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


def test_an_option_in_code_is_marked_whole_and_nothing_else() -> None:
    hooks = load_hooks()
    html = (
        '<p>--here <a href="#hcs-qc--x">x</a> <code>train --keep-kinds dead</code></p>'
        '<pre><code class="a--b"><a href="#l--1"></a>hcs-qc<span class="w"> </span>--out OUT--1'
    )
    marked = hooks.on_page_content(f"{html}</code></pre>", page=None)
    assert re.findall(r'<span class="option">(.*?)</span>', marked) == ["--keep-kinds", "--out"]
    unmarked = re.sub(r'<span class="option">(.*?)</span>', r"\1", marked)
    assert unmarked == f"{html}</code></pre>"


def test_names_in_a_table_break_at_their_joints_and_nowhere_else_in_them() -> None:
    hooks = load_hooks()
    cell = '<td><code>is_cut 0.65 qc/a.py</code> <a href="#x_y">x_y</a></td>'
    html = f"<p><code>is_cut</code></p><table><tr>{cell}</tr></table>"
    shown = hooks.on_page_content(html, page=None)
    assert shown == html.replace(
        cell, cell.replace("is_cut 0.65 qc/a.py", "is_<wbr>cut 0.65 qc/<wbr>a.<wbr>py")
    )


def test_generated_pages_are_not_kept_in_the_repository(generated: dict[str, str]) -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    kept = [
        name
        for name in generated
        if not any(Path(f"docs/{name}").match(pattern) for pattern in ignored if pattern)
    ]
    assert kept == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert "repo_url" not in site  # the theme asks GitHub's API for its stars
    assets = [*site["extra_css"], *site["extra"]["polyfills"], *site.get("extra_javascript", [])]
    assert all((ROOT / "docs" / asset).is_file() for asset in assets)
    # The theme takes this name for its own remedy, and loads none from elsewhere then.
    assert any("iframe-worker" in asset for asset in assets)


# ---- the README, as an index page shows it -----------------------------------------------


def test_links_and_pictures_of_the_readme_work_on_an_index_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


def test_the_address_of_the_project_is_the_same_everywhere() -> None:
    """It is a placeholder until there is one: `git grep -l OWNER/napari-hcs-qc` lists the files."""
    owner = PROJECT["urls"]["Repository"].removeprefix("https://github.com/").split("/")[0]
    for name in (
        "README.md", "mkdocs.yml", "CITATION.cff", "pyproject.toml", "conda/recipe.yaml",
        ".github/ISSUE_TEMPLATE/config.yml", "nextflow/modules/local/hcsqc/run/meta.yml",
    ):  # fmt: skip
        text = (ROOT / name).read_text(encoding="utf-8")
        addresses = re.findall(
            r"https://(?:(?:github|raw\.githubusercontent)\.com/([\w-]+)|([\w-]+)\.github\.io)"
            r"/napari-hcs-qc",
            text,
        )
        assert addresses and {"".join(names) for names in addresses} == {owner}, name


def test_pictures_of_the_readme_are_in_the_repository() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"raw\.githubusercontent\.com/[\w-]+/[\w-]+/[\w.-]+/([^)\s]+)", text)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
