"""One process in which the tests of this directory run tools."""

import pytest
from command_lines import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    shell = Shell(tmp_path_factory.mktemp("shell"))
    yield shell
    shell.close()
