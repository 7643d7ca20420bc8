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
module: service_info
short_description: Say how the services of a Millwright instance stand
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - Lists the installed services, or one of them, with their states. It changes nothing.
options:
  id:
    description:
      - 'Id of one service. Not given: all of them. One that is not installed gives an empty list.'
    type: str
  resources:
    description:
      - List how each connection, endpoint and mapping of these services stands too.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
seealso:
  - module: millwright.shopfloor.service
extends_documentation_fragment:
  - millwright.shopfloor.connection
"""

EXAMPLES = r"""
- name: See how the press stands
  millwright.shopfloor.service_info:
    id: press
    resources: true
  register: press

- name: Fail unless it runs as it should
  ansible.builtin.assert:
    that: press.services[0].state == "enabled"
"""

RETURN = r"""
---
services:
  description: The services, in the order of their ids, without their files.
  returned: always
  type: list
  elements: dict
  sample:
    - enabled: true
      id: press
      name: Press
      owner: api
      resources: 3
      state: enabled
connections:
  description: How each connection stands.
  returned: when I(resources) is true
  type: list
  elements: dict
endpoints:
  description: How each endpoint stands, with the time of its last value and its counters.
  returned: when I(resources) is true
  type: list
  elements: dict
mappings:
  description: How each mapping stands.
  returned: when I(resources) is true
  type: list
  elements: dict
"""
