"""Stand-ins for gcloud, ssh, sbatch and tmux: they record calls, and run what hosts would run.

A host is a directory that is the HOME of the commands sent to it; a slice is a directory of hosts
and a file with its state. What goes to a host is run by bash there, so that tests see what arrives
through all layers of quoting.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

GCLOUD = """
import json, os, pathlib, shutil, subprocess, sys
arguments = sys.argv[1:]
cloud = pathlib.Path(os.environ["CLOUD"])
with (cloud / "calls.jsonl").open("a") as file:
    file.write(json.dumps(["gcloud", *arguments]) + "\\n")
kind, verb, *rest = arguments[2:]
names = [a for a in rest if not a.startswith("--")]
flags = dict(a[2:].partition("=")[::2] for a in rest if a.startswith("--"))
shelf = cloud / kind

def missing(name):
    sys.exit(f"ERROR: (gcloud.compute.tpus.{kind}.{verb}) NOT_FOUND: Resource '{name}' was not...")

def make(name, state):
    for number in range(int(os.environ["WORKERS"])):
        (cloud / "tpu-vm" / name / f"worker-{number}").mkdir(parents=True)
    (cloud / "tpu-vm" / name / "state").write_text(state)

refusal = cloud / f"{kind}-{verb}-fails"
if refusal.exists():
    message = refusal.read_text()
    if not message.startswith("always "):
        refusal.unlink()
    sys.exit("ERROR: " + message.removeprefix("always "))
if verb == "create":
    name, state = names[0], os.environ.get("CREATED", "READY")
    if kind == "queued-resources":
        (shelf / name).mkdir(parents=True)
        (shelf / name / "state").write_text("ACTIVE")
        count = int(flags.get("node-count", 0))
        nodes = [f"{flags['node-prefix']}-{i}" for i in range(count)] or [flags["node-id"]]
        (shelf / name / "nodes").write_text(json.dumps(nodes))
        for node in nodes:
            make(node, state)
    else:
        make(name, state)
elif verb == "describe":
    if not (shelf / names[0]).exists():
        missing(names[0])
    if "len()" in flags["format"]:
        print(len(list((shelf / names[0]).glob("worker-*"))))
    else:
        print((shelf / names[0] / "state").read_text())
elif verb == "delete":
    if not (shelf / names[0]).exists():
        missing(names[0])
    if kind == "queued-resources":
        for node in json.loads((shelf / names[0] / "nodes").read_text()):
            shutil.rmtree(cloud / "tpu-vm" / node, ignore_errors=True)
    shutil.rmtree(shelf / names[0])
elif verb in ("ssh", "scp"):
    node = names[-1].removesuffix(":")
    if not (shelf / node).exists():
        missing(node)
    chosen = "*" if flags["worker"] == "all" else flags["worker"]
    status = 0
    for home in sorted((shelf / node).glob(f"worker-{chosen}")):
        if verb == "scp":
            shutil.copy(names[0], home)
            continue
        environment = os.environ | {"HOME": str(home)}
        text = " ".join(flags["command"].split(" "))  # As gcloud and ssh put it together.
        done = subprocess.run(["bash", "-c", text], cwd=home, env=environment)
        status = done.returncode or status
    sys.exit(status)
"""

SSH = """
import json, os, pathlib, subprocess, sys
cloud = pathlib.Path(os.environ["CLOUD"])
with (cloud / "calls.jsonl").open("a") as file:
    file.write(json.dumps(["ssh", *sys.argv[1:]]) + "\\n")
*_, host, text = sys.argv
home = cloud / "hosts" / host
home.mkdir(parents=True, exist_ok=True)
environment = os.environ | {"HOME": str(home)}
sys.exit(subprocess.run(["bash", "-c", text], cwd=home, env=environment).returncode)
"""

SBATCH = """
import json, os, pathlib, sys
cloud = pathlib.Path(os.environ["CLOUD"])
with (cloud / "calls.jsonl").open("a") as file:
    file.write(json.dumps(["sbatch", *sys.argv[1:]]) + "\\n")
(cloud / "job.sh").write_text(sys.stdin.read())
"""

# Sessions of a host by its HOME; a session is the process that it runs.
TMUX = """
import os, pathlib, subprocess, sys
home = pathlib.Path(os.environ["HOME"])
verb, rest = sys.argv[1], sys.argv[2:]
if verb == "has-session":
    try:
        os.kill(int((home / rest[1].removeprefix("=")).with_suffix(".session").read_text()), 0)
    except (OSError, ValueError):
        sys.exit(1)
else:
    assert (verb, rest[0], rest[1]) == ("new-session", "-d", "-s"), sys.argv
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    # Without the file there is no session, even if nobody gathers the process that has ended.
    wrapper = 's="$1"; shift; "$@"; rm -f "$s"'
    session = home / f"{rest[2]}.session"
    session.touch()
    command = ["bash", "-c", wrapper, "bash", str(session), *rest[3:]]
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    session.write_text(str(process.pid))
"""

# Makes an environment whose `xcot` is the one of these tests.
UV = """
import os, pathlib, shutil, sys
with (pathlib.Path(os.environ["HOME"]) / "uv.calls").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "venv":
    bin = pathlib.Path(sys.argv[-1]) / "bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(sys.executable)
else:
    python = pathlib.Path(sys.argv[sys.argv.index("--python") + 1])
    shutil.copy(os.environ["XCOT"], python.parent / "xcot")
"""

# Trains: counts steps in its working directory (gs://NAME is a directory of the cloud), which it
# saves every tenth step and on SIGTERM.
XCOT = """
import json, os, pathlib, signal, sys, time
cloud = pathlib.Path(os.environ["CLOUD"])
home = pathlib.Path(os.environ["HOME"])
(home / "seen.json").write_text(json.dumps(
    {"arguments": sys.argv[1:], "directory": os.getcwd(), "path": os.environ["PYTHONPATH"],
     "xcot": {k: v for k, v in os.environ.items() if k.startswith(("XCOT_", "XLA_"))}}))
workdirs = [a.partition("=")[2] for a in sys.argv if a.startswith("--workdir=gs://")]
if not workdirs:
    print("nothing to train")
    sys.exit(0)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
saved = cloud / "buckets" / workdirs[0].removeprefix("gs://") / home.parent.name / home.name
saved.parent.mkdir(parents=True, exist_ok=True)
start = int(saved.read_text()) if saved.exists() else 0
print("resuming from step", start, flush=True)
for step in range(start + 1, 10_000):
    time.sleep(0.02)
    if stop or step % 10 == 0:
        saved.write_text(str(step))
    if (cloud / "crash").exists():
        sys.exit(1)
    if stop:
        print("stopped and saved at step", step)
        sys.exit(143)
    if (cloud / "enough").exists():
        break
print("trained to step", step)
"""


class Cloud:
    """A cloud in a directory, with the stand-ins first on PATH.

    Attributes:
      directory: holds `calls.jsonl`, `tpu-vm/NODE/{state,worker-N/}`, `buckets/`, `hosts/`.
      clone: a git repository with the launchers, whose commit they copy.
    """

    def __init__(self, directory: Path, workers: int = 2) -> None:
        self.directory = directory / "cloud"
        programs = directory / "bin"
        for path in (self.directory, programs):
            path.mkdir()
        stand_ins = {"gcloud": GCLOUD, "ssh": SSH, "sbatch": SBATCH, "tmux": TMUX, "uv": UV}
        for name, text in stand_ins.items():
            self._program(programs / name, f"#!{sys.executable} -S\n{text}")
        # Waiting goes twenty times faster; nothing on this machine is changed.
        self._program(programs / "sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")
        for name in ("sudo", "curl", "apt-get", "nvidia-smi"):
            self._program(programs / name, "#!/bin/sh\nexit 1\n")
        self._program(directory / "xcot", f"#!{sys.executable} -S\n{XCOT}")
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("XCOT_", "XLA_"))
        } | {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "CLOUD": str(self.directory),
            "WORKERS": str(workers),
            "XCOT": str(directory / "xcot"),
            "HOME": str(directory),
            "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
        }
        self.clone = directory / "a clone"
        self.clone.mkdir()
        (self.clone / "launch").mkdir()
        for path in (ROOT / "launch").glob("*.sh"):
            (self.clone / "launch" / path.name).write_bytes(path.read_bytes())
        (self.clone / "setup.py").write_text("setup()\n")
        self.git("init", "--quiet")
        self.commit()

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command,
            cwd=self.clone,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def commit(self) -> str:
        """Commits everything; the commit's short name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=state")
        return self.git("rev-parse", "--short=12", "HEAD").strip()

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A launcher, running."""
        return subprocess.Popen(
            ["bash", str(self.clone / "launch" / script), *arguments],
            env=self.environment | environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, *arguments: str, status: int = 0, **environment: str
    ) -> tuple[str, str]:
        """Runs a launcher: its output and its errors."""
        process = self.start(script, *arguments, **environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, (process.returncode, out, err)
        return out, err

    def calls(self) -> list[list[str]]:
        path = self.directory / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self) -> list[str]:
        """What gcloud was asked to do, without questions and copies: `create`, `ssh start`..."""
        found = []
        for call in self.calls():
            verb = call[4]
            if verb in ("create", "delete"):
                found.append(verb)
            for argument in call:
                if argument.startswith("--command=bash xcot/current/launch/worker.sh"):
                    found.append(argument.split()[2])
        return found

    def homes(self, node: str = "pod") -> list[Path]:
        """The home directories of a node's workers, or of hosts."""
        return sorted((self.directory / "tpu-vm" / node).glob("worker-*"))

    def kill(self, home: Path) -> None:
        """Ends all that runs under tmux on a host, as loss of power would."""
        for session in home.glob("*.session"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(session.read_text()), signal.SIGKILL)
            session.unlink(missing_ok=True)

    def kill_all(self) -> None:
        """The same on all hosts."""
        for home in (*self.directory.glob("tpu-vm/*/worker-*"), *self.directory.glob("hosts/*")):
            self.kill(home)
