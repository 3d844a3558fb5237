# SPDX-License-Identifier: MIT
"""Builds the wheel: a PEP 517 backend of the standard library alone, also called by hand and by meson.

    python3 build_wheel.py FOLDER        the wheel into FOLDER; its path is printed

The wheel holds the Python package, the command and the library.  It works with every CPython, since nothing in it is
compiled against one.  Which distributions it runs on is read from the two ELF files: what they need beyond libc
decides whether it is a manylinux wheel at all, and the newest symbol of glibc which one.

SCTMEM_WHEEL_BUILD names a build folder of meson to take the two from; else one is made (-Dstatic_libraries=true).
"""
import base64
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
NAME = "sctmem"
# What a manylinux wheel may take from the system, of what could be needed here (PEP 600 and its policy files).
LIBRARIES_ALLOWED = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libz.so.1",
                     "ld-linux-x86-64.so.2"}
ENTRY_POINTS = """[console_scripts]
sctmem = sctmem.__main__:main

[pytest11]
sctmem = sctmem.pytest_plugin
"""


def version():
    return re.search(r"^\s*version: '([^']+)'", (ROOT / "meson.build").read_text(), re.MULTILINE).group(1)


def metadata():
    return ("Metadata-Version: 2.1\nName: {}\nVersion: {}\nSummary: A memory profiler for Python programs and the "
            "native code beneath them\nLicense: MIT\nRequires-Python: >=3.8\nClassifier: Framework :: Pytest\n"
            "Classifier: Operating System :: POSIX :: Linux\nDescription-Content-Type: text/markdown\n\n{}"
            ).format(NAME, version(), (HERE / "README.md").read_text())


def run(*command):
    # pip hides the system's packages from us by PYTHONPATH; meson is one of them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True)
    if done.returncode != 0:
        sys.exit("{}\nbuild_wheel: failed: {}".format(done.stdout[-4000:], " ".join(map(str, command))))
    return done.stdout


def need(program, remedy):
    path = shutil.which(program)
    if not path:
        sys.exit("build_wheel: no {} in PATH: {}".format(program, remedy))
    return path


def build_native(folder):
    """Builds command and library in the folder, with everything but libc inside."""
    meson = need("meson", "install meson and ninja, or name a finished build with SCTMEM_WHEEL_BUILD")
    ninja = need("ninja", "install ninja, or name a finished build with SCTMEM_WHEEL_BUILD")
    run(meson, "setup", "-Dtests=disabled", "-Djemalloc=disabled", "-Dstatic_libraries=true", str(folder), str(ROOT))
    run(ninja, "-C", str(folder), "reader/sctmem", "preload/libsctmem.so")


def stripped(path):
    """The file's bytes without debug information, which is ten times as large."""
    strip = shutil.which("strip")
    if not strip:
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, path.name)
        run(strip, "--strip-unneeded", "-o", str(copy), str(path))
        return copy.read_bytes()


def platform_tag(files):
    """(tag, reason): the oldest manylinux that the files run on, or linux when they need what it does not promise."""
    readelf = need("readelf", "install binutils")
    machine = "x86_64" if "X86-64" in run(readelf, "-h", str(files[0])) else os.uname().machine
    newest, foreign = (2, 17), set()
    for path in files:
        needed = set(re.findall(r"\(NEEDED\).*\[([^]]+)\]", run(readelf, "-d", "-W", str(path))))
        foreign |= needed - LIBRARIES_ALLOWED
        for major, minor in re.findall(r"\bGLIBC_(\d+)\.(\d+)", run(readelf, "-V", "-W", str(path))):
            newest = max(newest, (int(major), int(minor)))
    if foreign:
        return "linux_" + machine, "needs {}, which manylinux does not promise".format(", ".join(sorted(foreign)))
    return "manylinux_{}_{}_{}".format(*newest, machine), "newest symbol GLIBC_{}.{}".format(*newest)


class Wheel:
    """A wheel being written; the same input gives the same bytes."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED)
        self.record = []
        # Zip knows no time before 1980.
        moment = max(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), 315532800)
        self.time = time.gmtime(moment)[:6]

    def add(self, name, data, executable=False):
        data = data.encode() if isinstance(data, str) else data
        info = zipfile.ZipInfo(name, self.time)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = ((0o100755 if executable else 0o100644) << 16)
        self.zip.writestr(info, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append("{},sha256={},{}".format(name, digest, len(data)))

    def close(self, record_name):
        self.record.append("{},,".format(record_name))
        self.add(record_name, "\n".join(self.record) + "\n")
        self.zip.close()


def write_wheel(folder, build):
    command, library = build / "reader" / "sctmem", build / "preload" / "libsctmem.so"
    tag, reason = platform_tag([command, library])
    info = "{}-{}.dist-info".format(NAME, version())
    name = "{}-{}-py3-none-{}.whl".format(NAME, version(), tag)
    wheel = Wheel(pathlib.Path(folder, name))
    for path in sorted((HERE / NAME).glob("*.py")):
        wheel.add("{}/{}".format(NAME, path.name), path.read_bytes())
    wheel.add(NAME + "/_version.py", "# SPDX-License-Identifier: MIT\n__version__ = {!r}\n".format(version()))
    wheel.add(NAME + "/bin/sctmem", stripped(command), executable=True)
    wheel.add(NAME + "/bin/libsctmem.so", stripped(library), executable=True)
    wheel.add(info + "/METADATA", metadata())
    wheel.add(info + "/WHEEL", "Wheel-Version: 1.0\nGenerator: sctmem build_wheel\nRoot-Is-Purelib: false\n"
              "Tag: py3-none-{}\n".format(tag))
    wheel.add(info + "/entry_points.txt", ENTRY_POINTS)
    wheel.add(info + "/LICENSE", (ROOT / "LICENSE").read_bytes())
    wheel.close(info + "/RECORD")
    print("build_wheel: {}: {}".format(name, reason), file=sys.stderr)
    return name


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """PEP 517.  Without it pip would build everything twice."""
    info = "{}-{}.dist-info".format(NAME, version())
    folder = pathlib.Path(metadata_directory, info)
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(metadata())
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    return info


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517."""
    given = os.environ.get("SCTMEM_WHEEL_BUILD")
    if given:
        return write_wheel(wheel_directory, pathlib.Path(given))
    with tempfile.TemporaryDirectory() as folder:
        build_native(pathlib.Path(folder))
        return write_wheel(wheel_directory, pathlib.Path(folder))


def source_files():
    """What belongs to the source: what git has, or everything but build folders where there is no git."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        listed = run(git, "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard")
        return [pathlib.Path(line) for line in listed.splitlines()]
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*")
                  if path.is_file() and not path.relative_to(ROOT).parts[0].startswith(("build", ".")))


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517.  The whole source, with a pyproject.toml at its top that leads to this backend."""
    base = "{}-{}".format(NAME, version())
    project = (HERE / "pyproject.toml").read_text().replace('backend-path = ["."]', 'backend-path = ["python"]')
    made = {"pyproject.toml": project, "PKG-INFO": metadata()}
    with tarfile.open(str(pathlib.Path(sdist_directory, base + ".tar.gz")), "w:gz") as archive:
        for path in source_files():
            if (ROOT / path).is_file() and str(path) not in made:
                archive.add(str(ROOT / path), "{}/{}".format(base, path), recursive=False)
        for name, text in made.items():
            member = tarfile.TarInfo("{}/{}".format(base, name))
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return base + ".tar.gz"


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    os.makedirs(arguments[0], exist_ok=True)
    print(os.path.join(arguments[0], build_wheel(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
