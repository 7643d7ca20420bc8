# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tasks of this run would bring up, in check mode, for later tasks on the same target.

A note is a file in the folder that Ansible makes for each run on the controller and removes at
its end: it is no fact, so that neither a fact cache nor another run ever sees it.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
import json
import os

from ansible import constants as C
from ansible.module_utils.common.text.converters import to_bytes

PREFIX = "millwright-expected-"


def target(connection, play_context):
    """The host on which tasks run, whatever the inventory calls it."""
    if connection.transport == "local":
        return "local"
    return "%s %s %s" % (connection.transport, play_context.remote_addr, play_context.port)


def _digest(text):
    return hashlib.sha256(to_bytes(text)).hexdigest()[:24]


def _path(where, instance):
    return os.path.join(C.DEFAULT_LOCAL_TMP, "%s%s-%s" % (PREFIX, _digest(where), _digest(instance)))


def note(where, instance, expected):
    """Notes what a task would bring up; None: nothing, or nothing any more."""
    path = _path(where, instance)
    if expected is None:
        if os.path.exists(path):
            os.remove(path)
        return
    with open(path + ".new", "w") as f:
        json.dump(expected, f)
    os.rename(path + ".new", path)


def notes(where):
    """What earlier tasks of this run would bring up on the target."""
    found = []
    prefix = PREFIX + _digest(where) + "-"
    for name in sorted(os.listdir(C.DEFAULT_LOCAL_TMP)):
        if name.startswith(prefix) and not name.endswith(".new"):
            with open(os.path.join(C.DEFAULT_LOCAL_TMP, name)) as f:
                found.append(json.load(f))
    return found
