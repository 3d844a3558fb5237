#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs python_walk_victim.py under every Python that is found, with python_walk_library.so preloaded.

    test_python_walk.py LIBRARY [EMBED] [--seconds N] [--only TEXT]

LIBRARY is python_walk_library.so, EMBED the program python_embed.  Pythons are those of ~/.pyenv/versions, of
tests/peers/install-nogil and of the PATH, and those below SCTMEM_TEST_ROOTS: root directories of other systems, each
given to chroot.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VICTIM = os.path.join(HERE, 'python_walk_victim.py')
# Free-threaded builds refuse those of malloc.
ALLOCATORS = ('PYTHONMALLOC=debug', 'PYTHONMALLOC=malloc', 'PYTHONMALLOC=malloc_debug', 'PYTHONDEVMODE=1')
failures = []


def version_of(command):
    try:
        text = subprocess.run(command + ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=True).stdout
        return tuple(map(int, text.split(b'.')))
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0, 0, 0)


def pythons():
    """(name, command, root) of each Python that is known to be supported; root is None or that of a chroot."""
    found, seen = [], set()
    candidates = sorted(glob.glob(os.path.expanduser('~/.pyenv/versions/3.*/bin/python3')))
    candidates += glob.glob(os.environ.get('SCTMEM_NOGIL', '/opt/python-nogil') + '/bin/python3')
    candidates += [shutil.which('python3', path='/usr/bin:/bin') or '/usr/bin/python3']
    places = [([path], None) for path in candidates]
    for root in filter(None, os.environ.get('SCTMEM_TEST_ROOTS', '').split(':')):
        places += [(['chroot', root, path[len(root):]], root)
                   for path in sorted(glob.glob(root + '/usr/bin/python3.*[0-9]'))]
    for command, root in places:
        version, real = version_of(command), (root, os.path.realpath(command[-1]))
        if (3, 8) <= version < (3, 16) and real not in seen:
            seen.add(real)
            found.append(('%d.%d.%d' % version + (' ' + root if root else ''), command, root))
    return found


def run(name, what, command, environment=None):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=180,
                              env=dict(os.environ, **(environment or {})), check=False)
        output, code = done.stdout.decode(errors='replace').strip(), done.returncode
        errors = done.stderr.decode(errors='replace').strip()
    except subprocess.TimeoutExpired:
        output, code, errors = '', 'time-out', ''
    print('%-4s %-14s %-28s %s' % ('ok' if code == 0 else 'BAD', name, what, output.replace('\n', '; ')))
    if code != 0:
        failures.append((name, what, code))
        print('     exit', code, errors[-2000:])


def preloaded(command, root, library, settings, arguments):
    """The command under the library; into a chroot, both are copied first, with what the library needs."""
    victim, path = VICTIM, os.path.abspath(library)
    prefix, program = command[:-1], command[-1:]
    if root:
        inside = root + '/sctmem-test'
        os.makedirs(inside, exist_ok=True)
        needed = subprocess.run(['ldd', path], stdout=subprocess.PIPE, check=True).stdout.decode()
        for file in [path, VICTIM] + [word for word in needed.split() if word.startswith('/') and 'unwind' in word]:
            shutil.copy(file, inside)
        victim, path = '/sctmem-test/' + os.path.basename(VICTIM), '/sctmem-test/' + os.path.basename(path)
        settings = settings + ['LD_LIBRARY_PATH=/sctmem-test']
    return prefix + ['/usr/bin/env', 'LD_PRELOAD=' + path] + settings + program + [victim] + arguments


def test_python(name, command, root, options):
    def victim(*arguments, settings=(), what=None):
        run(name, what or ' '.join(arguments), preloaded(command, root, options.library, list(settings),
                                                         list(arguments)))

    seconds = str(options.seconds)
    victim('names')
    victim('shapes', seconds)
    victim('oracle', seconds)
    victim('deep')
    victim('reborn')
    victim('fork')
    victim('interpreters')
    victim('hooks')
    free_threaded = b't' in subprocess.run(command + ['-c', 'import sys; print(sys.abiflags)'], stdout=subprocess.PIPE,
                                           check=True).stdout
    for setting in ALLOCATORS:
        if free_threaded and '=malloc' in setting:
            continue
        victim('hooks', settings=[setting], what='hooks ' + setting)
    if not free_threaded:                 # docs/reliability.md, "What cannot be promised"
        victim('hooks', 'before', settings=['PYTHONTRACEMALLOC=3'], what='hooks tracemalloc first')
    for _ in range(3):
        victim('exit')
    victim('cost')


def test_embedding(name, command, options):
    home = os.path.dirname(os.path.dirname(command[-1]))
    for library in glob.glob(home + '/lib/libpython3.*.so.1.0'):
        environment = {'PYTHONHOME': home, 'LD_PRELOAD': os.path.abspath(options.library), 'MALLOC_PERTURB_': '255'}
        run(name, 'embedded', [options.embed, library], environment)
        run(name, 'embedded, debug', [options.embed, library], dict(environment, PYTHONMALLOC='debug'))
        for _ in range(3):
            run(name, 'embedded, busy at its end', [options.embed, library, 'busy'], environment)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('library')
    parser.add_argument('embed', nargs='?')
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--only', default='')
    options = parser.parse_args()
    found = [python for python in pythons() if options.only in python[0]]
    if not found:
        print('no supported Python found')
        return 77
    for name, command, root in found:
        test_python(name, command, root, options)
        if options.embed and not root:
            test_embedding(name, command, options)
    print(len(failures), 'failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
