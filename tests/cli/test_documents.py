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
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
EXIT_CODES = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_in_all_three_places() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(--[\w-]+)` \| `(\w+)` \|", COMMAND_LINE, flags=re.MULTILINE)
    assert sorted(rows) == sorted((name, option_name(name), variable_name(name)) for name in SETTING_NAMES)


def test_every_command_and_secret_is_documented() -> None:
    for name in COMMANDS:
        assert f"connector {name}" in COMMAND_LINE
    assert TOKEN_VARIABLE in COMMAND_LINE
    assert PASSPHRASE_VARIABLE in COMMAND_LINE


def test_the_links_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")):
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


def test_the_example_of_the_readme_uses_public_names_only() -> None:
    import connector

    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    compile(example, "README.md", "exec")
    used = set(re.findall(r"connector\.(\w+)", example))
    assert used
    assert used <= set(vars(connector)["__all__"])
