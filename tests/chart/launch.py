"""Makes the view of a container, and becomes its process. Runs in namespaces of its own; what it is to do is the file in its argument (see node.py)."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
# What an image has beside its binaries: the system's libraries and certificates.
SYSTEM = ["/usr/lib", "/lib", "/lib64", "/etc/ssl/certs"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def bind(source, target, read_only):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro,nosuid", target)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        launch = json.load(file)
    root = launch["root"]
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for path in SYSTEM:
        if os.path.exists(path):
            bind(os.path.realpath(path), root + path, True)
    for name, path in launch["binaries"].items():
        bind(path, f"{root}/usr/local/bin/{name}", True)
    for device in DEVICES:
        bind(device, root + device, False)
    os.makedirs(f"{root}/proc")
    mount("-t", "proc", "proc", f"{root}/proc")
    for target, source in launch["files"].items():
        bind(source, root + target, True)
    for volume in sorted(launch["mounts"], key=lambda volume: volume["target"]):
        bind(volume["source"], root + volume["target"], volume["read_only"])
    mount("-o", "remount,ro", root)

    socket.sethostname(launch["host"])
    os.chroot(root)
    os.chdir("/")
    os.setgroups(launch["groups"])
    os.setgid(launch["group"])
    os.setuid(launch["user"])
    os.umask(0o022)
    libc = ctypes.CDLL(None, use_errno=True)
    # That it ends with who started it was forgotten when it became another user.
    for option, value in (PR_SET_PDEATHSIG, signal.SIGKILL), (PR_SET_NO_NEW_PRIVS, 1):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    os.execvpe(launch["command"][0], launch["command"], launch["environment"])


main()
