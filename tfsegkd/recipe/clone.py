"""A copy of the code as it is at one commit, from which the runs of a study are made."""

import shutil
from pathlib import Path

from tfsegkd.atomic import put_in_place
from tfsegkd.recipe.provenance import ROOT, git, is_checkout

# What decides what a run does; pages and tests may change meanwhile.
_CODE = ("tfsegkd", "tools")


def clone(directory: Path, commit: str | None = None, root: Path = ROOT) -> Path:
    """The root of a clone below `directory`, made at the first call and found again at later ones.

    A study that goes on after an interruption uses the commit that it began with, whatever has been
    committed since. Outside a git checkout there is nothing to clone, and `root` itself is returned.

    Args:
        directory: Where the study writes.
        commit: What to clone, in any form that git reads; what is checked out in `root` unless given.
        root: The checkout.

    Raises:
        ValueError: if the code has changes that no commit holds, there is no such commit, or the study began
            with another one.
    """
    if not is_checkout(root):
        if commit:
            raise ValueError(f"`commit={commit}`: {str(root)!r} is no git checkout. Leave `commit` out.")
        return root
    wanted = git("rev-parse", "--verify", "--quiet", f"{commit or 'HEAD'}^{{commit}}", root=root)
    if not wanted:
        raise ValueError(f"No commit {commit or 'HEAD'!r} in {str(root)!r}. `git log` lists those there are.")
    target = directory / "code"
    if target.exists():
        before = git("rev-parse", "HEAD", root=target)
        if commit and before != wanted:
            raise ValueError(
                f"{str(directory)!r} began at commit {before}, `commit={commit}` is {wanted}. Runs of one "
                f"study are made by one code. Leave `commit` out, or choose another `output_dir`."
            )
        return target
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *_CODE, root=root)
    if changed and not commit:
        files = ", ".join(line.split(maxsplit=1)[-1] for line in changed.splitlines())
        raise ValueError(
            f"The code has changes that are in no commit: {files}. A study runs from a clone, so that its "
            f"commit can be named. Commit them, or name a commit with `commit`, such as `commit=HEAD`."
        )
    temporary = target.with_name(".code.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    made = git("clone", "--quiet", "--no-checkout", str(root), str(temporary.resolve()), root=root)
    if made is None or git("checkout", "--quiet", "--detach", wanted, root=temporary) is None:
        raise OSError(f"git cannot clone {str(root)!r} into {str(temporary)!r}. Is there room on the disk?")
    put_in_place(temporary, target)
    return target


def code(root: Path) -> str | None:
    """What tells the code of a clone from other code, whatever became of pages; None outside git."""
    return git("rev-parse", *(f"HEAD:{part}" for part in _CODE), root=root) if is_checkout(root) else None
