"""A clone of the code at one commit, in which the runs of a study execute."""

import shutil
from pathlib import Path

from tfsegkd.atomic import put_in_place
from tfsegkd.recipe.provenance import ROOT, git, is_checkout

# The code that runs depend on; pages and tests may change.
_CODE = ("tfsegkd", "tools")


def clone(directory: Path, commit: str | None = None, root: Path = ROOT) -> Path:
    """Returns the root of a clone below `directory`, which the first call creates.

    A resumed study uses the commit with which it started. Outside of a git checkout, `root` itself is
    returned.

    Args:
        directory: The directory of the study.
        commit: The commit to clone, in any form that git reads; by default the one checked out in `root`.
        root: The checkout.

    Raises:
        ValueError: if the code has uncommitted changes, there is no such commit, or the study started with
            another one.
    """
    if not is_checkout(root):
        if commit:
            raise ValueError(f"`commit={commit}`: {str(root)!r} is no git checkout. Leave `commit` out.")
        return root
    wanted = git("rev-parse", "--verify", "--quiet", f"{commit or 'HEAD'}^{{commit}}", root=root)
    if not wanted:
        raise ValueError(f"No commit {commit or 'HEAD'!r} in {str(root)!r}. `git log` lists the commits.")
    target = directory / "code"
    if target.exists():
        before = git("rev-parse", "HEAD", root=target)
        if commit and before != wanted:
            raise ValueError(
                f"{str(directory)!r} started at commit {before}, `commit={commit}` is {wanted}. All runs of "
                f"a study use the same code. Leave `commit` out, or choose another `output_dir`."
            )
        return target
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *_CODE, root=root)
    if changed and not commit:
        files = ", ".join(line.split(maxsplit=1)[-1] for line in changed.splitlines())
        raise ValueError(
            f"The code has uncommitted changes: {files}. A study runs in a clone of a commit. Commit "
            f"them, or choose a commit, such as `commit=HEAD`."
        )
    temporary = target.with_name(".code.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    cloned = git("clone", "--quiet", "--no-checkout", str(root), str(temporary.resolve()), root=root)
    if cloned is None or git("checkout", "--quiet", "--detach", wanted, root=temporary) is None:
        raise OSError(f"git cannot clone {str(root)!r} into {str(temporary)!r}. Is there space on the disk?")
    put_in_place(temporary, target)
    return target


def code(root: Path) -> str | None:
    """Returns a hash of the code of a clone, without pages; None outside of git."""
    return git("rev-parse", *(f"HEAD:{part}" for part in _CODE), root=root) if is_checkout(root) else None
