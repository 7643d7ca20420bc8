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
module: role
short_description: Manage a role of a Millwright instance
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - Creates, changes and deletes a named set of permissions, on topics of the broker and routes of the API.
options:
  name:
    description:
      - 'Name of the role: 1 to 64 letters, digits, C(_), C(.), C(@), C(-).'
    type: str
    required: true
  permissions:
    description:
      - All that the role allows. Required unless I(state=absent).
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
  state:
    description:
      - Whether the role exists. With C(absent) nothing else is compared.
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
  - module: millwright.shopfloor.user
extends_documentation_fragment:
  - millwright.shopfloor.connection
  - millwright.shopfloor.change
"""

EXAMPLES = r"""
- name: Operators see what the plant measures, and set what the press makes
  millwright.shopfloor.role:
    name: operators
    permissions:
      - {resource: plant/#, operation: read, context: mqtt}
      - {resource: plant/press/set, operation: write, context: mqtt}

- name: The role is gone
  millwright.shopfloor.role:
    name: operators
    state: absent
"""

RETURN = r"""
---
role:
  description: The role as it is.
  returned: when the role exists afterwards
  type: dict
  sample:
    name: operators
    owner: api
    permissions:
      - context: mqtt
        operation: read
        resource: plant/#
plan:
  description: 'What was changed, or in check mode would be: a summary, what it disturbs most, and the steps with their causes.'
  returned: success
  type: dict
  sample:
    disturbs: none
    steps: []
    summary: No changes.
"""
