"""python tools/mutate.py [FILE...]: change the code in one small way after another, and see whether
a test notices.

The changes are mutmut's. What runs them is here, because mutmut itself leaves out every constant
and whatever is decorated (but static and class methods), with no option that brings them back: 280
of the 750 changes of mlu/scores. And cosmic-ray starts a new Python for each change, which takes
longer here than the tests. This process imports what the tests need of other packages, and forks
for each change. The child imports the project, one module of it changed as it is loaded (nothing is
written to disk), and runs the tests of that file that reach the changed statement, the fastest
first, until one fails. A first run under coverage tells which these are.

Not changed, since no test could or should notice: docstrings and other text for people (a string
with a space), types (annotations, and names in CamelCase that stand for a type), decorators, the
arguments of `len` and `isinstance`, and `strict` of `zip`, which like `assert` is there for our own
slips. A change that Python reads as the same is none.

`[tool.mutation]` in pyproject.toml lists the files. Results are in .mutation/: survivors.diff and
results.json.
"""

import os

# One thread each, before anything is imported that would start more: a process with threads cannot
# be forked safely.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

import argparse
import ast
import contextlib
import difflib
import gc
import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType

import coverage
import hypothesis
import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".mutation"
RESULTS = FOLDER / "results.json"
QUIET = ("-q", "-x", "--assert=plain", "--tb=no", "-p", "no:cacheprovider")
# The parent has imported plugins before pytest could rewrite them, which only matters for their own
# messages.
UNWARNED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
MEMORY = 8 * 2**30
"""Bytes that a child may take."""
IMPORTS, TIMES = 10, 4
"""Seconds of the processor that a child may take for its imports, and how many times what its tests
took at first."""
BY_THE_CLOCK = 10
"""How many times that it may last: it may have to wait for the processor, but not for ever."""
BROKEN = 99
"""Exit status of a child in which this program failed, and not a test."""
NO_VERDICT = (BROKEN, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
"""Statuses that say nothing of a change."""


@dataclass(frozen=True)
class Mutant:
    """One change: of which file, in which line, as a diff, and the file's text with it."""

    file: str
    line: int
    diff: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `killed` (by what), `timeout`, `survived`, or `untested` where no
    test reaches it."""

    file: str
    line: int
    fate: str
    killer: str
    diff: str


@dataclass(frozen=True)
class Baseline:
    """What a file's tests do without a change: seconds of each, and which of them reach a line; ""
    for the import."""

    seconds: dict[str, float]
    lines: dict[int, list[str]]
    modules: list[str]

    def reaching(self, lines: Iterable[int]) -> list[str]:
        """The tests that run one of the lines, the fastest first; all, where the import does."""
        found = {test for line in lines for test in self.lines.get(line, ())}
        return sorted(self.seconds if "" in found else found, key=self.seconds.__getitem__)


class Mutations(cst.CSTVisitor):
    """Collects pairs of nodes, the second in place of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if left_alone(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.pairs += [
                    (node, other)
                    for other in operator(node)
                    if strictness(other) == strictness(node)
                ]
        return True


def strictness(node: cst.CSTNode) -> list[cst.CSTNode]:
    args = node.args if isinstance(node, cst.Call) else ()
    return [arg.value for arg in args if arg.keyword is not None and arg.keyword.value == "strict"]


def left_alone(node: cst.CSTNode) -> bool:
    """Whether nothing in a node is changed: the list is in the module's text."""
    match node:
        case cst.Annotation() | cst.Decorator():
            return True
        case cst.SimpleString() | cst.ConcatenatedString():
            return " " in str(node.evaluated_value)
        case cst.Call(func=cst.Name(value="len" | "isinstance")):
            return True
        case cst.Arg(keyword=cst.Name(value="strict")):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name[0].isupper() and not name.isupper()
    return False


def mutants_of(file: str) -> list[Mutant]:
    """All changes of a file that are Python, and other Python, each once."""
    text = (ROOT / file).read_text()
    meaning = ast.dump(ast.parse(text))
    wrapper = MetadataWrapper(cst.parse_module(text))
    places, found = wrapper.resolve(PositionProvider), Mutations()
    wrapper.module.visit(found)
    mutants = {}
    for old, new in found.pairs:
        changed = cst.ensure_type(wrapper.module.deep_replace(old, new), cst.Module).code
        with contextlib.suppress(SyntaxError):
            compile(changed, file, "exec")
            if ast.dump(ast.parse(changed)) == meaning:
                continue
            diff = difflib.unified_diff(
                text.splitlines(), changed.splitlines(), file, file, n=1, lineterm=""
            )
            mutants[changed] = Mutant(file, places[old].start.line, "\n".join(diff), changed)
    return list(mutants.values())


def statement_at(text: str, line: int) -> range:
    """Lines of the innermost statement there, without those that it contains."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            # Outer ones come first.
            if node.lineno <= line <= last:
                found = range(node.lineno, last + 1)
    return found


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a text that is not its file's."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec")


class Finder:
    """Finds one module, changed."""

    def __init__(self, mutant: Mutant) -> None:
        self.name, self.mutant = module_name(mutant.file), mutant

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        loader = Changed(name, str(ROOT / self.mutant.file), self.mutant.text)
        return importlib.util.spec_from_file_location(name, ROOT / self.mutant.file, loader=loader)


def module_name(file: str) -> str:
    return ".".join(Path(file).with_suffix("").parts)


class Probe:
    """Times each test and notes which lines it runs."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[str(ROOT / file)]
        )
        self.coverage.start()

    def pytest_collection_modifyitems(self) -> None:
        # Here at the latest, so that no test is taken for the one that runs its constants.
        importlib.import_module(module_name(self.file))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        return result

    def baseline(self) -> Baseline:
        self.coverage.stop()
        lines = self.coverage.get_data().contexts_by_lineno(str(ROOT / self.file))
        ours = (ROOT / "mlu", ROOT / "tests")
        files = {
            name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())
        }
        foreign = [
            name
            for name, at in files.items()
            if at and not any(Path(at).is_relative_to(own) for own in ours)
        ]
        return Baseline(self.seconds, lines, foreign)


class Choice:
    """Runs some of the tests, in their order, and notes the first that fails."""

    def __init__(self, chosen: Sequence[str], known: Iterable[str], note: Path) -> None:
        self.place = {test: number for number, test in enumerate(chosen)}
        self.known, self.note = set(known), note

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # A test that was not there before is one that the change has made: it runs.
        items[:] = [
            item for item in items if item.nodeid in self.place or item.nodeid not in self.known
        ]
        items.sort(key=lambda item: self.place.get(item.nodeid, -1))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.note.write_text(report.nodeid)


def forked(work: Callable[[], int], seconds: float, log: Path) -> int:
    """The number of a child that works and ends with the status that this gives; killed when its
    time is over."""
    child = os.fork()
    if child:
        return child
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(int(BY_THE_CLOCK * seconds))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os._exit(int(work()))
    finally:
        os._exit(BROKEN)


def pytest_run(tests: Sequence[str], folder: Path, plugin: object) -> int:
    return int(
        pytest.main([*QUIET, *UNWARNED, f"--basetemp={folder / 'tmp'}", *tests], plugins=[plugin])
    )


def baseline_of(file: str, tests: Sequence[str], folder: Path) -> Baseline:
    """Runs the tests once, in a child, without a change; stops where they fail."""
    answer = folder / "baseline"

    def work() -> int:
        probe = Probe(file)
        status = pytest_run(tests, folder, probe)
        answer.write_text(json.dumps(asdict(probe.baseline())))
        return status

    _, status = os.waitpid(forked(work, 3600, folder / "log"), 0)
    if status:
        sys.exit(f"{file}: its tests fail without a change\n{(folder / 'log').read_text()}")
    found = json.loads(answer.read_text())
    return Baseline(
        found["seconds"],
        {int(line): tests for line, tests in found["lines"].items()},
        found["modules"],
    )


def judged(
    mutants: Sequence[Mutant], tests: Sequence[str], baseline: Baseline, folder: Path, jobs: int
) -> list[Verdict]:
    """Fates of a file's mutants, so many at a time."""
    waiting = list(enumerate(mutants))
    running: dict[int, tuple[int, Mutant]] = {}
    found: dict[int, Verdict] = {}

    def start(number: int, mutant: Mutant) -> None:
        chosen = baseline.reaching(statement_at((ROOT / mutant.file).read_text(), mutant.line))
        if not chosen:
            found[number] = Verdict(mutant.file, mutant.line, "untested", "", mutant.diff)
            return
        own = folder / str(number)
        own.mkdir()

        def work() -> int:
            sys.meta_path.insert(0, Finder(mutant))
            return pytest_run(tests, own, Choice(chosen, baseline.seconds, own / "killer"))

        seconds = IMPORTS + TIMES * sum(baseline.seconds[test] for test in chosen)
        running[forked(work, seconds, own / "log")] = number, mutant

    def finish() -> None:
        child, status = os.wait()
        number, mutant = running.pop(child)
        own = folder / str(number)
        if os.waitstatus_to_exitcode(status) in NO_VERDICT:
            sys.exit(f"{mutant.diff}\ncould not be tested:\n{(own / 'log').read_text()}")
        over = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGALRM)
        fate = "timeout" if over else "killed" if status else "survived"
        note = own / "killer"
        killer = note.read_text() if note.exists() else "the import" if fate == "killed" else ""
        found[number] = Verdict(mutant.file, mutant.line, fate, killer, mutant.diff)
        shutil.rmtree(own)

    while waiting or running:
        while waiting and len(running) < jobs:
            start(*waiting.pop(0))
        if running:
            finish()
    return [found[number] for number in sorted(found)]


def settings() -> dict[str, list[str]]:
    """Each file that is mutated, and the tests that belong to it."""
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutation"]
    found = {}
    for file in sorted(
        path.relative_to(ROOT) for pattern in given["files"] for path in ROOT.glob(pattern)
    ):
        guess = Path("tests", *file.parts[1:-1], f"test_{file.name}")
        tests = [str(guess)] if (ROOT / guess).exists() else []
        found[str(file)] = tests + given["also"].get(str(file), [])
    return {file: tests for file, tests in found.items() if (ROOT / file).stat().st_size}


def is_alive(fate: str) -> bool:
    return fate in ("survived", "untested")


def row(name: str, verdicts: Sequence[Verdict], mutants: int, rate: float, effective: float) -> str:
    """Of the table. The interval is Wilson's, at the number of draws that would be as good without
    strata."""
    fates = [verdict.fate for verdict in verdicts]
    killed, timeout = fates.count("killed"), fates.count("timeout")
    text = f"{100 * rate:.0f} %"
    if len(verdicts) < mutants:
        size = round(effective)
        interval = binomtest(round(rate * size), size).proportion_ci(method="wilson")
        text += f" ({100 * interval.low:.0f} to {100 * interval.high:.0f})"
    survived = len(fates) - killed - timeout
    cells = (name, mutants, len(verdicts), killed, timeout, survived, text)

    return f"| {' | '.join(map(str, cells))} |"


def table(verdicts: dict[str, list[Verdict]], mutants: dict[str, int]) -> Iterator[str]:
    """Markdown: what was killed of each file, and of all, each file counting by its number of
    mutants."""
    yield "| File | Mutants | Drawn | Killed | Timeout | Survived | Rate |"
    yield "|---|---|---|---|---|---|---|"
    total, effective, rates = sum(mutants.values()), 0.0, 0.0
    for file, own in verdicts.items():
        rate, weight = (
            sum(verdict.fate in ("killed", "timeout") for verdict in own) / len(own),
            mutants[file] / total,
        )
        rates, effective = rates + weight * rate, effective + weight**2 / len(own)
        yield row(f"`{file}`", own, mutants[file], rate, len(own))
    yield row("all", list(itertools.chain(*verdicts.values())), total, rates, 1 / effective)


def main() -> None:
    known = settings()
    parser = argparse.ArgumentParser(prog="tools/mutate.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "files",
        nargs="*",
        default=list(known),
        help="of those in pyproject.toml; all without a name",
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="mutants of each file at most, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--again", action="store_true", help="only the last run's survivors")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    given = parser.parse_args()
    unknown = [file for file in given.files if file not in known]
    if unknown:
        parser.error(
            f"{unknown[0]} is not among tool.mutation.files of pyproject.toml: {', '.join(known)}"
        )
    untested = [file for file in given.files if not known[file]]
    if untested:
        parser.error(f"{untested[0]} has no test file: name one in tool.mutation.also")

    os.chdir(ROOT)
    # Failures are looked for, not explained.
    hypothesis.settings.register_profile(
        "mutation",
        deadline=None,
        derandomize=True,
        database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("mutation")
    last = {entry["diff"] for entry in read() if is_alive(entry["fate"])} if given.again else set()
    verdicts: dict[str, list[Verdict]] = {}
    mutants: dict[str, int] = {}
    for file in given.files:
        drawn = [mutant for mutant in mutants_of(file) if not given.again or mutant.diff in last]
        if not drawn:
            continue
        mutants[file] = len(drawn)
        if given.sample and given.sample < len(drawn):
            drawn = random.Random(f"{given.seed} {file}").sample(drawn, given.sample)
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            baseline = baseline_of(file, known[file], Path(folder))
            for name in baseline.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            # Else a child's first collection would copy all that it shares with this process.
            gc.freeze()
            start = time.monotonic()
            verdicts[file] = judged(drawn, known[file], baseline, Path(folder), given.jobs)
            gc.unfreeze()
        alive = sum(is_alive(verdict.fate) for verdict in verdicts[file])
        print(
            f"{file}: {alive} of {len(drawn)} survived, {time.monotonic() - start:.0f} s",
            flush=True,
        )
        write(list(itertools.chain(*verdicts.values())))
    print("\n".join(table(verdicts, mutants)))


def read() -> list[dict[str, str]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def write(verdicts: Sequence[Verdict]) -> None:
    FOLDER.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    alive = [
        f"# {verdict.fate}\n{verdict.diff}\n" for verdict in verdicts if is_alive(verdict.fate)
    ]
    (FOLDER / "survivors.diff").write_text("\n".join(alive))


if __name__ == "__main__":
    main()
