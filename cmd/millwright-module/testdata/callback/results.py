# A callback for the tests: one JSON line for each result, with the task's name, its item
# and the seconds that it took.
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
name: results
type: stdout
short_description: one JSON line for each result
description: For the tests of this program.
options: {}
"""

import json
import time

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "results"

    def __init__(self):
        super(CallbackModule, self).__init__()
        self.started = {}

    def v2_runner_on_start(self, host, task):
        self.started[(host.name, task._uuid)] = time.time()

    def show(self, status, result):
        data = dict(result._result)
        seconds = time.time() - self.started.get((result._host.name, result._task._uuid), time.time())
        print(json.dumps(dict(task=result._task.get_name().strip(), host=result._host.name, status=status, seconds=seconds, result=data), default=str))

    def v2_runner_on_ok(self, result):
        self.show("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.show("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        self.show("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self.show("skipped", result)

    def v2_runner_item_on_ok(self, result):
        self.show("item", result)

    def v2_runner_item_on_failed(self, result):
        self.show("item-failed", result)
