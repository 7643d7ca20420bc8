#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Made from the schema in internal/ansible by `make generate`; do not edit.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: service
short_description: Manage a service of a Millwright instance
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - 'Installs, changes, disables and removes a service: what one commissioning file declares.'
  - Only the resources that differ are changed, and only they are disturbed; check mode with I(diff) says which these are.
options:
  id:
    description:
      - 'The service''s id: a letter or digit, then letters, digits, C(_) and C(.).'
    type: str
    required: true
  commissioning_file:
    description:
      - The commissioning file. It is read on the controller, beside the playbook or below its C(files), and may be encrypted with Ansible Vault; or on the target with I(remote_src).
      - Required for a service that is not installed yet, unless I(commissioning) is given.
    type: path
  commissioning:
    description:
      - The text of the commissioning file itself.
    type: str
  remote_src:
    description:
      - Read I(commissioning_file) on the target.
    type: bool
    default: false
  parameters:
    description:
      - 'Values of the file''s parameters, all of them: one that is not given gets its default.'
      - Not given at all, the installed values are kept. Which ones are secret is known only from the file, so that none of them is shown in a task's invocation.
    type: dict
  state:
    description:
      - 'C(enabled), or C(started): installed, and running. C(present): installed; whether it runs is left alone.'
      - 'C(disabled), or C(stopped): installed, not running. C(restarted): stopped and started; this is always a change.'
      - 'C(absent): removed. With C(disabled), C(restarted) and C(absent) an installed service''s file and parameters are not compared.'
    type: str
    default: enabled
    choices:
      - enabled
      - started
      - present
      - disabled
      - stopped
      - restarted
      - absent
  wait_for:
    description:
      - 'C(installed): the runtime has taken over every resource. C(connected): every connection is connected.'
      - 'C(data): every subscribing endpoint has delivered once.'
    type: str
    default: installed
    choices:
      - installed
      - connected
      - data
  wait_timeout:
    description:
      - Seconds to wait for that.
    type: int
    default: 60
  delete_volumes:
    description:
      - With I(state=absent), delete the volumes of the service's containers too.
    type: bool
    default: false
  allow_unsupported:
    description:
      - Install what this version can run of a file. Else a resource of a kind that it cannot run fails the task, before anything is changed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It says what it would change, from the same plan that it applies.
  diff_mode:
    support: full
    description: Secrets are shown as changed, never as they are.
notes:
  - A machine that is switched off fails nothing unless I(wait_for) says so. The result then has a warning that names the connection and its last error.
seealso:
  - module: millwright.shopfloor.service_info
  - module: millwright.shopfloor.user
  - module: millwright.shopfloor.role
extends_documentation_fragment:
  - millwright.shopfloor.connection
  - millwright.shopfloor.change
"""

EXAMPLES = r"""
- name: Install a service from a file beside the playbook
  millwright.shopfloor.service:
    id: press
    commissioning_file: ./press.yml
    parameters:
      host: 10.0.0.7
      password: "{{ vault_press_password }}"

- name: Change it only if no connection is cut, and wait until data arrives
  millwright.shopfloor.service:
    id: press
    commissioning_file: ./press.yml
    max_disturbance: endpoint
    wait_for: data

- name: The press is being repaired
  millwright.shopfloor.service:
    id: press
    state: stopped

- name: The press is gone
  millwright.shopfloor.service:
    id: press
    state: absent
"""

RETURN = r"""
---
service:
  description: 'The service as it is: its state, the number of its resources, those that deviate, and links.'
  returned: when the service exists afterwards
  type: dict
  sample:
    enabled: true
    id: press
    name: Press
    owner: api
    resources: 3
    state: enabled
plan:
  description: 'What was changed, or in check mode would be: a summary, what it disturbs most, and the steps with their causes.'
  returned: success
  type: dict
  sample:
    disturbs: none
    steps: []
    summary: No changes.
"""
