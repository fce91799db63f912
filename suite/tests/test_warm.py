"""The process that has imported already: a job of it is the job that it would have been, in what it says, how it ends and when it dies."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from suite import jobfile, store, warm
from suite.plan import load

ROOT = Path(__file__).parents[2]
ASK = "from suite import warm; warm.hand_over(); print('for itself')"

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@contextmanager
def process(folder):
    """The warm process, and where it listens."""
    address = str(folder)
    command = [sys.executable, "-m", "suite.warm", address]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, env=environment, start_new_session=True) as served:
        until(lambda: listens(address))
        yield served, address
        served.stdin.close()
        assert served.wait(60) == 0
    assert not listens(address)


def listens(address):
    """Whether a socket of that name waits for others: the kernel's table of them has its flags before its name."""
    return any(" 00010000 " in line and line.endswith(f" @{address}") for line in Path("/proc/net/unix").read_text().splitlines())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with process(tmp_path_factory.mktemp("warm")) as found:
        yield found


@pytest.fixture
def job(tmp_path):
    """Make `suite.run` of a folder of its own do something."""

    def make(code):
        (tmp_path / "suite").mkdir(exist_ok=True)
        (tmp_path / "suite" / "__init__.py").touch()
        (tmp_path / "suite" / "run.py").write_text(code)
        return tmp_path

    return make


def asked(address, folder, *arguments, **environment):
    """Start a process that hands over; safely, so that it takes its own `suite` from here, and not from its folder."""
    here = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", warm.ADDRESS: address} | environment
    command = [sys.executable, "-c", ASK, *arguments]
    return subprocess.Popen(command, cwd=folder, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def until(true, patience=60):
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_job_has_the_arguments_folder_environment_and_streams_of_who_asked(served, job):
    folder = job("import json, os, sys; print(json.dumps([sys.argv[1:], sys.orig_argv, os.getcwd(), os.environ['COLOUR'], input()]))")
    asking = asked(served[1], folder, "train", "x", COLOUR="blue")
    said, complaints = asking.communicate("hello\n")
    assert json.loads(said) == [["train", "x"], asking.args, str(folder), "blue", "hello"] and complaints == ""


def test_it_has_torch_and_nothing_of_ours_and_has_never_computed(served, job):
    folder = job("import sys; print('torch' in sys.modules, 'bionas' in sys.modules)")
    assert asked(served[1], folder).communicate()[0] == "True False\n"
    assert len([*Path(f"/proc/{served[0].pid}/task").iterdir()]) == 1  # threads do not survive a fork


def test_a_job_runs_the_code_that_is_there_when_it_starts(served, job):
    for word in "first", "second":
        assert asked(served[1], job(f"print({word!r})")).communicate()[0] == f"{word}\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('suite.run: no such thing')", 1, "suite.run: no such thing\n"),
        ("raise KeyError('x')", 1, "KeyError: 'x'\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, ""),
    ],
)
def test_who_asked_ends_as_the_job_ends(served, job, code, status, said):
    asking = asked(served[1], job(code))
    assert asking.communicate()[1].endswith(said) and asking.returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_job_once(served, job, number):
    code = f"""
import signal, sys, time
asked = []
signal.signal({int(number)}, lambda *_: asked.append(1))
print("ready", flush=True)
while not asked: time.sleep(0.01)
time.sleep(0.2)
sys.exit(100 + len(asked))
"""
    asking = asked(served[1], job(code))
    assert asking.stdout.readline() == "ready\n"
    asking.send_signal(number)
    assert asking.wait(60) == 101


WAITING = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def test_the_job_is_killed_with_who_asked(served, job):
    asking = asked(served[1], job(WAITING))
    pid = int(asking.stdout.readline())
    asking.kill()
    until(lambda: not alive(pid))
    asking.communicate()


def test_nothing_is_handed_to_another_user_who_took_the_name(tmp_path):
    if os.getuid():
        pytest.skip("needs root, to be another user, too")
    address = str(tmp_path)
    other = (
        f"import os, socket, sys; there = socket.socket(socket.AF_UNIX); there.bind('\\0{address}'); os.setuid(65534); there.listen(); "
        "print('ready', flush=True); here, _ = there.accept(); print(here.recv(99)); sys.stdout.flush()"
    )
    with subprocess.Popen([sys.executable, "-c", other], stdout=subprocess.PIPE, text=True) as took:
        assert took.stdout.readline() == "ready\n"
        assert asked(address, tmp_path).communicate() == ("for itself\n", "")
        assert took.communicate()[0] == "b''\n"


def test_where_none_listens_a_job_imports_for_itself(tmp_path):
    asking = asked(f"{tmp_path}/nobody", tmp_path)
    assert asking.communicate() == ("for itself\n", "") and asking.returncode == 0


def test_of_one_that_is_killed_the_job_begins_again_for_itself(tmp_path, job):
    folder = job(WAITING)
    address = str(tmp_path)
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "suite.warm", address], stdin=subprocess.PIPE, cwd=ROOT, env=here) as served:
        until(lambda: listens(address))
        asking = asked(address, folder)
        pid = int(asking.stdout.readline())
        watching = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        served.kill()
        served.wait()
        assert alive(pid)  # it is watched by another
        assert asked(address, folder).communicate()[0] == "for itself\n"
        os.kill(watching, signal.SIGKILL)
        until(lambda: not alive(pid))
        assert asking.communicate()[0] == "for itself\n"


def test_a_job_outlives_the_workflow(tmp_path, job):
    """A killed Snakemake leaves its jobs, which end as they would have."""
    with process(tmp_path) as (_, address):
        asking = asked(address, job("import sys; print('ready', flush=True); print(input())"))
        assert asking.stdout.readline() == "ready\n"
    assert asking.communicate("the end\n")[0] == "the end\n" and asking.returncode == 0


DEFINITION = """
name: warm
about: one short training
datasets: [digits]
models: {names: [resnet20], rules: [brsf], settings: {epochs: 1, batch_size: 256}}
"""


def test_a_training_ends_with_the_same_bytes_and_says_who_asked(served, tmp_path, digits):
    (tmp_path / "warm.yaml").write_text(DEFINITION)
    (trial,) = load(str(tmp_path / "warm.yaml")).trials.values()
    runs = {}
    for folder, address in {tmp_path / "warm": served[1], tmp_path / "cold": ""}.items():
        jobfile.write(load(str(tmp_path / "warm.yaml")), folder / jobfile.RUNS)
        (folder / "data").mkdir()
        (folder / "data" / "digits.h5").symlink_to(digits)
        file = jobfile.RUNS / "trial" / trial.id / "train.json"
        command = [sys.executable, "-m", "suite.run", "train", str(file)]
        here = os.environ | {"PYTHONPATH": str(ROOT), warm.ADDRESS: address}
        done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        runs[folder.name] = store.read((folder / file).with_suffix(".h5"))
        assert runs[folder.name].provenance["argv"] == " ".join(command)
        assert (folder / file).with_name("weights.pt").is_file()
    assert store.digest(tmp_path / "warm" / file.with_suffix(".h5")) == store.digest(tmp_path / "cold" / file.with_suffix(".h5"))
