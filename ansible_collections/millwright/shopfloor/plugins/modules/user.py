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
module: user
short_description: Manage a user of a Millwright instance
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - Creates, changes and deletes the account of a person or program.
  - What is not given keeps what is there. A list that is given is complete.
options:
  username:
    description:
      - 'Name of the managed user: 1 to 64 letters, digits, C(_), C(.), C(@), C(-).'
    type: str
    required: true
    aliases:
      - name
  password:
    description:
      - 'Password of the managed user, at least 5 characters. It is never read back: the instance compares it, so that a second run changes nothing.'
    type: str
  update_password:
    description:
      - C(on_create) sets the password of new users alone.
    type: str
    default: always
    choices:
      - always
      - on_create
  roles:
    description:
      - Names of the user's roles.
    type: list
    elements: str
  permissions:
    description:
      - What the user may do beside its roles.
    type: list
    elements: dict
    suboptions:
      resource:
        description:
          - A topic filter, or a route of the API. Wildcards are MQTT's in both.
        type: str
        required: true
      operation:
        description:
          - What is allowed.
        type: str
        required: true
        choices:
          - read
          - write
          - readWrite
      context:
        description:
          - Where it is allowed.
        type: str
        required: true
        choices:
          - mqtt
          - http
  grants:
    description:
      - How the user may log in. A new user gets both.
    type: list
    elements: str
    choices:
      - password
      - token
  state:
    description:
      - Whether the user exists. With C(absent) nothing else is compared.
    type: str
    default: present
    choices:
      - present
      - absent
attributes:
  check_mode:
    support: full
    description: It says what it would change, from the same plan that it applies.
  diff_mode:
    support: full
    description: Secrets are shown as changed, never as they are.
seealso:
  - module: millwright.shopfloor.role
  - module: millwright.shopfloor.service
extends_documentation_fragment:
  - millwright.shopfloor.connection
  - millwright.shopfloor.change
"""

EXAMPLES = r"""
- name: An account for the line, with a password from the vault
  millwright.shopfloor.user:
    username: line1
    password: "{{ vault_line1_password }}"
    roles: [operators]

- name: An account that may only read one topic
  millwright.shopfloor.user:
    username: dashboard
    password: "{{ vault_dashboard_password }}"
    update_password: on_create
    permissions:
      - {resource: plant/press/#, operation: read, context: mqtt}

- name: The account is gone
  millwright.shopfloor.user:
    username: line1
    state: absent
"""

RETURN = r"""
---
user:
  description: The user as it is, without its password.
  returned: when the user exists afterwards
  type: dict
  sample:
    grants:
      - password
      - token
    owner: api
    permissions: []
    roles:
      - operators
    username: line1
plan:
  description: 'What was changed, or in check mode would be: a summary, what it disturbs most, and the steps with their causes.'
  returned: success
  type: dict
  sample:
    disturbs: none
    steps: []
    summary: No changes.
"""
