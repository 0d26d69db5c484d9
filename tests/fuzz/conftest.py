"""Says at the end how many inputs there were."""

import fuzzing


def pytest_terminal_summary(terminalreporter):
    if fuzzing.generated:
        total = sum(fuzzing.generated.values())
        terminalreporter.write_line(f"fuzzing: {total:,} generated inputs")
        for name, count in fuzzing.generated.items():
            terminalreporter.write_line(f"  {count:6,}  {name}")
