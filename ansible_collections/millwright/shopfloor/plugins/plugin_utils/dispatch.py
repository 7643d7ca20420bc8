# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the collection's one binary is run, on the controller and on targets.

A task needs one command on the target: it runs the binary from a folder of the user's own,
where it lies under its SHA-256, with the arguments on standard input. Where it is missing it
is sent, once. Where standard input cannot be used (async, su, a sudo that wants a terminal)
Ansible's own way is taken, which sends the binary with every task.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import gzip
import hashlib
import json
import os
import shlex

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.unsafe_proxy import wrap_var
from ansible.vars.clean import remove_internal_keys
from ansible_collections.millwright.shopfloor.plugins.plugin_utils import expected

COLLECTION = "millwright.shopfloor"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIBEXEC = os.path.join(ROOT, "libexec")

# What `uname -sm` says, and what the platform is called here.
PLATFORMS = {
    "Linux x86_64": "linux_amd64",
    "Linux amd64": "linux_amd64",
    "Linux aarch64": "linux_arm64",
    "Linux arm64": "linux_arm64",
    "Darwin x86_64": "darwin_amd64",
    "Darwin arm64": "darwin_arm64",
}

# The exit codes of the command that runs the binary, beside the binary's own 0 and 1.
UNKNOWN_PLATFORM = 125
NOT_EXECUTABLE = 126
MISSING = 127

MARK = "millwright-platform: "
NO_TERMINAL = "must have a tty"  # what sudo says

# What the folder of the binaries holds: each under its SHA-256, and those that are on their way.
OWN_FILES = r"^(\.?[0-9a-f]{64}|\.[0-9a-f]{64}\.[0-9]+)$"


class Refused(Exception):
    """What the user is told, as a failure of the task."""


def binary(platform):
    return os.path.join(LIBEXEC, "millwright-module_" + platform)


def checksums():
    """SHA-256 of each platform's binary, by platform."""
    sums = {}
    try:
        with open(os.path.join(LIBEXEC, "SHA256SUMS")) as f:
            for line in f:
                digest, name = line.split()
                sums[name.replace("millwright-module_", "")] = digest
    except (IOError, OSError, ValueError):
        raise Refused(
            "The collection %s in %s holds no programs: it was installed from its sources. "
            "Install the release instead: ansible-galaxy collection install millwright-shopfloor-X.Y.Z.tar.gz "
            "(`make collection` builds it)." % (COLLECTION, ROOT)
        )
    return sums


def plain(value):
    """The value in JSON's types; vaulted text is decrypted."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return dict((to_text(k), plain(v)) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    return to_text(str(value))


class Dispatch(ActionBase):
    """An action that runs the module MODULE of the binary."""

    MODULE = None
    # Options that name files on the controller, unless remote_src is true.
    CONTROLLER_FILES = ()

    def run(self, tmp=None, task_vars=None):
        self._supports_check_mode = True
        self._supports_async = True
        result = super(Dispatch, self).run(tmp, task_vars)
        if result.get("skipped"):
            return result
        try:
            result.update(self._run(task_vars or {}))
        except Refused as e:
            result.update(failed=True, changed=False, msg=to_text(e))
        return result

    def _run(self, task_vars):
        args = plain(self._task.args)
        files = self._read_files(args)
        if files:
            args["_ansible_millwright_files"] = files
        if self._task.check_mode:
            args["_ansible_millwright_expected"] = expected.notes(expected.target(self._connection, self._play_context))
        return self._call(args, task_vars, self._task.async_val)

    def _call(self, args, task_vars, background=0):
        """Runs the binary once; in the background for that many seconds at most."""
        data = None
        if not background and self._can_stream():
            data = self._run_cached(args, task_vars)
        if data is None:
            data = self._run_sent(args, task_vars, background)
        return data

    def _read_files(self, args):
        """What the options name on the controller, with its vault opened."""
        files = {}
        try:
            remote = boolean(args.get("remote_src") or False, strict=False)
        except TypeError:
            remote = False  # the module says what is wrong with it
        if remote or args.get("state") == "absent":
            return files
        for option in self.CONTROLLER_FILES:
            name = args.get(option)
            if not name:
                continue
            try:
                real = self._loader.get_real_file(self._find_needle("files", to_text(name)), decrypt=True)
                try:
                    with open(real, "rb") as f:
                        text = f.read()
                finally:
                    self._loader.cleanup_tmp_file(real)
            except (AnsibleError, IOError, OSError) as e:
                raise Refused("cannot read the %s %r on the controller: %s" % (option, to_text(name), to_text(e)))
            files[option] = dict(name=to_text(name), text=to_text(base64.b64encode(text)))
        return files

    def _can_stream(self):
        """Whether the binary can be given its arguments on standard input."""
        become = self._connection.become
        return getattr(self._connection, "has_pipelining", False) and (become is None or become.name != "su")

    def _folder_name(self, task_vars):
        return to_text(self._templar.template(task_vars.get("millwright_cache_dir") or "~/.ansible/millwright"))

    def _folder(self, task_vars):
        """The folder of the binaries on the target, as a word of the shell."""
        folder = self._folder_name(task_vars)
        if folder == "~" or folder.startswith("~/"):
            return '"$HOME"' + shlex.quote(folder[1:]) if folder[1:] else '"$HOME"'
        return shlex.quote(folder)

    def _script(self, task_vars):
        """The command that runs the binary, or says on which platform it is missing."""
        lines = []
        if self._connection.transport == "local":
            own = PLATFORMS.get("%s %s" % (os.uname()[0], os.uname()[4]))
            if own:
                path = shlex.quote(binary(own))
                lines.append("[ ! -x %s ] || exec %s /dev/stdin" % (path, path))
        sums = checksums()
        cases = "".join('"%s") s=%s;; ' % (uname, sums[name]) for uname, name in sorted(PLATFORMS.items()) if name in sums)
        lines += [
            "d=%s" % self._folder(task_vars),
            'u=$(uname -sm)',
            'case "$u" in %s*) echo "%s$u"; exit %d;; esac' % (cases, MARK, UNKNOWN_PLATFORM),
            'c="$d/$s"',
            'case "$(ls -ld "$d" 2>/dev/null)" in drwx------*) ;; *) echo "%s$u"; exit %d;; esac' % (MARK, MISSING),
            'if [ ! -O "$d" ] || [ ! -O "$c" ] || [ ! -f "$c" ]; then echo "%s$u"; exit %d; fi' % (MARK, MISSING),
            'if [ ! -x "$c" ]; then echo "%s$u"; exit %d; fi' % (MARK, NOT_EXECUTABLE),
            'exec "$c" /dev/stdin',
        ]
        return "; ".join(lines)

    def _run_cached(self, args, task_vars):
        """Runs the binary from its folder on the target; None if that cannot be done there."""
        module_args = dict(args)
        self._update_module_args("%s.%s" % (COLLECTION, self.MODULE), module_args, task_vars)
        environment = {}
        self._compute_environment_string(environment)
        if environment:
            module_args["_ansible_millwright_environment"] = plain(environment)
        script = self._script(task_vars)
        payload = to_bytes(json.dumps(plain(module_args)))
        answer = self._low_level_execute_command(script, sudoable=True, in_data=payload)
        if answer["rc"] == MISSING and MARK in answer["stdout"]:
            if not self._send(self._platform(answer), task_vars):
                return None
            answer = self._low_level_execute_command(script, sudoable=True, in_data=payload)
        if answer["rc"] == UNKNOWN_PLATFORM and MARK in answer["stdout"]:
            raise Refused(self._unknown(self._uname(answer)))
        if answer["rc"] in (NOT_EXECUTABLE, MISSING):
            raise Refused(
                "cannot run programs in the folder %s on the target: %s. It may lie on a file system that is mounted noexec. "
                "Name another folder by the variable millwright_cache_dir."
                % (self._folder_name(task_vars), to_text(answer["stderr"]).strip() or "permission denied")
            )
        if answer["rc"] != 0 and NO_TERMINAL in to_text(answer["stderr"]) + to_text(answer["stdout"]):
            return None
        return self._parsed(answer)

    def _uname(self, answer):
        for line in to_text(answer["stdout"]).splitlines():
            if line.startswith(MARK):
                return line[len(MARK):].strip()
        return ""

    def _platform(self, answer):
        return PLATFORMS[self._uname(answer)]

    @staticmethod
    def _unknown(uname):
        have = sorted(u for u, name in PLATFORMS.items() if name in checksums())
        return "cannot run on %r: the collection %s has programs for %s" % (uname, COLLECTION, ", ".join(have))

    def _send(self, platform, task_vars):
        """Puts the binary into its folder on the target; False, with a warning, if that cannot be."""
        digest = checksums()[platform]
        with open(binary(platform), "rb") as f:
            content = f.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise Refused("the program %s is damaged: install the collection %s again with --force" % (binary(platform), COLLECTION))
        script = "; ".join([
            "umask 077",
            "d=%s" % self._folder(task_vars),
            's=%s' % digest,
            't="$d/.$s.$$"',
            # a folder that somebody keeps other things in is neither closed to others nor cleared up
            'o=$(ls -A "$d" 2>/dev/null | grep -vE "%s" | head -n 1)' % OWN_FILES,
            'if [ -n "$o" ]; then echo "$d holds other files, such as $o" >&2; exit 1; fi',
            'if mkdir -p "$d" && chmod 700 "$d" && [ -O "$d" ] && gzip -dc >"$t" && chmod 700 "$t" && mv -f "$t" "$d/$s"',
            # what a cut connection left goes; of earlier versions the newest two stay, for other controllers
            'then find "$d" -type f -name ".*" -mmin +60 -exec rm -f {} +',
            'ls -t "$d" | tail -n +4 | while read -r f; do rm -f "$d/$f"; done',
            'else rm -f "$t"; exit 1; fi',
        ])
        answer = self._low_level_execute_command(script, sudoable=True, in_data=gzip.compress(content, 6))
        if answer["rc"] == 0:
            return True
        self._display.warning(
            "The program cannot be kept on the target, so that it is sent with every task: %s. "
            "Name a folder of its own for it by the variable millwright_cache_dir." % to_text(answer["stderr"]).strip()
        )
        return False

    def _run_sent(self, args, task_vars, background):
        """Runs the binary as Ansible runs any: sent for this task, its arguments in a file."""
        answer = self._low_level_execute_command("uname -sm", sudoable=False)
        lines = [line.strip() for line in to_text(answer["stdout"]).splitlines() if line.strip() in PLATFORMS]
        platform = PLATFORMS[lines[-1]] if lines else None
        if platform not in checksums():
            raise Refused(self._unknown(to_text(answer["stdout"]).strip()))
        wrap_async = background and not self._connection.has_native_async
        return self._execute_module(
            module_name="%s.%s.%s" % (COLLECTION, platform, self.MODULE),
            module_args=args,
            task_vars=task_vars,
            wrap_async=wrap_async,
        )

    @staticmethod
    def _parsed(answer):
        """The one JSON object that the binary prints last."""
        for line in reversed(to_text(answer["stdout"]).splitlines()):
            if not line.startswith("{"):
                continue
            try:
                data = json.loads(line)
            except ValueError:
                break
            remove_internal_keys(data)
            data = wrap_var(data)
            data["_ansible_parsed"] = True
            return data
        return dict(
            failed=True,
            _ansible_parsed=False,
            msg="MODULE FAILURE: the program printed no result",
            module_stdout=to_text(answer["stdout"]),
            module_stderr=to_text(answer["stderr"]),
            rc=answer["rc"],
        )
