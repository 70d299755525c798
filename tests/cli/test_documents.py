"""What the documents promise of the command line is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from connector import errors
from connector.cli.root import COMMANDS
from connector.cli.secrets import PASSPHRASE_VARIABLE, TOKEN_VARIABLE
from connector.config import SETTING_NAMES, option_name, variable_name

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXIT_CODES = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")


def test_the_readme_has_every_setting_in_all_three_places() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(--[\w-]+)` \| `(\w+)` \|", README, flags=re.MULTILINE)
    assert sorted(rows) == sorted((name, option_name(name), variable_name(name)) for name in SETTING_NAMES)


def test_the_readme_speaks_of_every_command_and_secret() -> None:
    for name in COMMANDS:
        assert f"connector {name}" in README
    assert TOKEN_VARIABLE in README
    assert PASSPHRASE_VARIABLE in README


def test_the_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_family_has_its_row_of_exit_codes() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (?:`(\w+)` )?\|", EXIT_CODES, flags=re.MULTILINE))
    families = [
        error
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, errors.ConnectorError)
        and error.__base__ is errors.ConnectorError
        and "family" in vars(error)
    ]
    assert len(families) == 5
    for family in families:
        assert rows[str(family.exit_code)] == family.family
    assert {"0", "1", "129", "130", "143"} <= set(rows)


def test_the_examples_of_the_readme_use_public_names_only() -> None:
    import connector

    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        compile(example, "README.md", "exec")
        used = set(re.findall(r"connector\.(\w+)", example))
        assert used
        assert used <= set(connector.__all__)
