# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an instance is deployed: an image archive is sent where its image is missing, and what a
task would bring up is noted for later tasks, in check mode."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.millwright.shopfloor.plugins.plugin_utils import expected
from ansible_collections.millwright.shopfloor.plugins.plugin_utils.dispatch import Dispatch, Refused, plain

ARCHIVE = "_ansible_millwright_archive"
PLAYBOOK = "_ansible_millwright_playbook_dir"


class Deploy(Dispatch):
    """The action of the module instance."""

    def _run(self, task_vars):
        args = plain(self._task.args)
        if self._connection.transport == "local":
            args[PLAYBOOK] = to_text(self._loader.get_basedir())
        if args.get("image_archive") and not self._on_target(args):
            data = self._with_archive(args, task_vars)
        else:
            data = self._call(args, task_vars, self._task.async_val)
        would = data.pop("millwright_expected", None)
        if not data.get("failed"):
            where = expected.target(self._connection, self._play_context)
            instance = "%s %s" % (args.get("name") or "millwright", args.get("docker_host") or "")
            expected.note(where, instance, plain(would) if self._task.check_mode else None)
        return data

    @staticmethod
    def _on_target(args):
        try:
            return boolean(args.get("remote_src") or False, strict=False)
        except TypeError:
            return False  # the module says what is wrong with it

    def _with_archive(self, args, task_vars):
        """Asks whether the archive is needed, in a run that does everything if it is not. One in
        the background has nobody to ask later, and asks before."""
        background = self._task.async_val
        data = self._call(dict(args, **{ARCHIVE: dict(ask="ask only" if background else "ask")}), task_vars)
        needed = data.pop("millwright_needs", None)
        if data.get("failed") or not needed and not background:
            return data
        sent = self._send_archive(to_text(args["image_archive"])) if needed else ""
        return self._call(dict(args, **{ARCHIVE: dict(sent=sent)}), task_vars, background)

    def _send_archive(self, name):
        """The path of the archive on the target, in the folder that goes with the task."""
        try:
            path = self._find_needle("files", name)
            real = self._loader.get_real_file(path, decrypt=True)
            try:
                if self._connection.transport == "local" and not self._connection.become and real == path:
                    return to_text(path)
                if self._connection._shell.tmpdir is None:
                    self._make_tmp_path()
                remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "image-archive")
                self._transfer_file(real, remote)
                self._fixup_perms2((self._connection._shell.tmpdir, remote))
                return to_text(remote)
            finally:
                self._loader.cleanup_tmp_file(real)
        except (AnsibleError, IOError, OSError) as e:
            raise Refused("cannot send the image_archive %r to the target: %s" % (name, to_text(e)))
