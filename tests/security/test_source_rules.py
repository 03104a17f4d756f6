"""What the source may not do, read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = "samft/export/templates"  # run in other programs, which bring what they need

# Modules that can run code from a file, or reach another machine, and who may import them.
RESTRICTED = {
    "pickle": {"samft/models/inert_pickle.py"},  # every name in a file stands for an inert object
    "pickletools": {
        *("samft/models/inert_pickle.py", "samft/models/legacy_file.py"),
        "samft/models/torch_file.py",
    },
    "http": {"samft/models/download.py", "samft/models/https.py"},
    "urllib.request": {"samft/models/download.py", "samft/models/https.py"},
    "urllib.error": {"samft/models/download.py"},
    "huggingface_hub": {"samft/models/huggingface.py"},
    "xml": {"samft/data/readers/xml_files.py"},
    "socket": {"samft/diagnosis/private_names.py", "samft/diagnosis/processes.py"},
    "subprocess": {"samft/callbacks/requeue.py"},  # tells SLURM's scontrol to queue a job again
    "tarfile": {"samft/data/shards/writer.py"},
}
FORBIDDEN = {
    *("_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("aiohttp", "ftplib", "httpx", "requests", "smtplib", "ssl", "telnetlib", "urllib3"),
    *("webbrowser", "xmlrpc", "code", "codeop"),
    *("sentry_sdk", "posthog", "analytics", "mixpanel", "segment", "statsd", "wandb"),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.spawnv", "os.startfile"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "pickle._Unpickler"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("shutil.unpack_archive", "tempfile.mktemp", "torch.hub.load"),
}
FORBIDDEN_METHODS = {"extract", "extractall"}  # of archives: members are read one by one


def sources() -> list[Path]:
    files = sorted((ROOT / "samft").rglob("*.py"))
    assert len(files) > 300
    return files


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def keyword(call: ast.Call, name: str) -> object:
    values = [word.value for word in call.keywords if word.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else "not given"


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)


def within(name: str, modules: set[str]) -> str | None:
    return next((m for m in modules if name == m or name.startswith(f"{m}.")), None)


def call_problem(call: ast.Call) -> str | None:
    name = dotted(call.func)
    if name in FORBIDDEN_CALLS:
        return name
    if isinstance(call.func, ast.Attribute) and call.func.attr in FORBIDDEN_METHODS:
        return f"{name} of an archive"
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if name in {"np.load", "numpy.load"} and keyword(call, "allow_pickle") is not False:
        return "np.load without allow_pickle=False"
    if keyword(call, "shell") is True:
        return "a shell"
    if keyword(call, "trust_remote_code") not in {"not given", False}:
        return "trust_remote_code"
    return None


def problems(text: str, path: str) -> list[str]:
    """Return what a file does that it may not, by line."""
    tree = ast.parse(text)
    found = []
    for line, name in imported(tree):
        if within(name, FORBIDDEN):
            found.append(f"{path}:{line}: import of {name}")
        module = within(name, set(RESTRICTED))
        if module and path not in RESTRICTED[module]:
            found.append(f"{path}:{line}: import of {name}")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found += [f"{path}:{c.lineno}: {problem}" for c in calls if (problem := call_problem(c))]
    return found


def test_the_source_keeps_to_the_rules() -> None:
    found = []
    for file in sources():
        path = file.relative_to(ROOT).as_posix()
        if not path.startswith(TEMPLATES):
            found += problems(file.read_text("utf-8"), path)
    assert not found, "\n".join(found)


def test_files_that_run_in_other_programs_run_nothing_themselves() -> None:
    files = sorted((ROOT / TEMPLATES).rglob("*.py"))
    assert files
    for file in files:
        calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
        assert not [problem for call in calls if (problem := call_problem(call))], file


def test_examples_read_weights_safely() -> None:
    for file in sorted((ROOT / "examples").rglob("*.py")) + sorted(
        (ROOT / "benchmarks").rglob("*.py")
    ):
        calls = [n for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Call)]
        assert not [problem for call in calls if (problem := call_problem(call))], file


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "from urllib.request import urlopen",
        "from urllib import request",
        "import http.client",
        "import requests",
        "import wandb",
        "import subprocess",
        "from xml.etree import ElementTree",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval('1')",
        "exec(code)",
        "os.system('ls')",
        "yaml.load(text, Loader=yaml.Loader)",
        "archive.extractall(folder)",
        "run('ls', shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "def f():\n    import socket",
    ],
)
def test_the_rules_find_what_they_forbid(line) -> None:
    assert problems(line, "samft/data/somewhere.py")


@pytest.mark.parametrize(
    "line",
    [
        "from urllib.parse import urlsplit",
        "model.eval()",
        "yaml.safe_load(text)",
        "torch.load(path, weights_only=True)",
        "re.compile('a')",
        "from samft.segment import x",
    ],
)
def test_the_rules_leave_the_rest_alone(line) -> None:
    assert not problems(line, "samft/data/somewhere.py")


def test_who_may_do_more_still_does() -> None:
    """A file that no longer needs its exception loses it."""
    for module, files in RESTRICTED.items():
        for file in files:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            assert any(within(name, {module}) for _, name in imported(tree)), (module, file)
