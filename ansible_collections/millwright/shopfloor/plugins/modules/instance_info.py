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
module: instance_info
short_description: Say how a Millwright instance on a Docker engine stands
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - Says whether there is an instance of a name, how it was declared, how it is reached, and what was changed behind its back. It changes nothing.
options:
  name:
    description:
      - Name of the instance, and of its compose project. Several may share an engine, with names and ports of their own.
    type: str
    default: millwright
  docker_host:
    description:
      - Address of the Docker engine, C(unix://PATH), C(ssh://USER@HOST), or C(tcp://HOST:2376) with the certificates that C(DOCKER_CERT_PATH) names.
      - Not given, it is C(DOCKER_HOST), else the engine of the target's system, else that of the user.
    type: str
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
seealso:
  - module: millwright.shopfloor.instance
  - module: millwright.shopfloor.service_info
"""

EXAMPLES = r"""
- name: See how the instance stands
  millwright.shopfloor.instance_info:
  register: gateway

- name: Fail if somebody has changed it
  ansible.builtin.assert:
    that:
      - gateway.exists
      - gateway.drift == []
"""

RETURN = r"""
---
exists:
  description: Whether there is an instance of that name on the engine.
  returned: always
  type: bool
  sample: true
running:
  description: Whether all of its containers run.
  returned: always
  type: bool
  sample: true
options:
  description: The options that were last applied, without secrets.
  returned: when it exists
  type: dict
  sample:
    name: millwright
    version: 0.1.0
drift:
  description: 'What a task of the module M(millwright.shopfloor.instance) with these options would change: steps with their causes.'
  returned: when it exists
  type: list
  elements: dict
  sample:
    - address: instance/millwright/container/broker
      cause: 'is not running: exited (exit code 0)'
      disturbs: none
      symbol: "~"
url:
  description: Address of the instance's API and page.
  returned: unless the instance publishes no https
  type: str
  sample: https://localhost
ca_cert:
  description: Certificate authority of the instance, PEM.
  returned: when the instance has been started
  type: str
ca_path:
  description: File on the target with it, beside the context file.
  returned: when the instance has been started
  type: str
  sample: /root/.config/millwright/millwright.ca.crt
context:
  description: Name of the instance's context in the context file.
  returned: unless it is absent
  type: str
  sample: millwright
containers:
  description: The containers, in the order in which they start.
  returned: when there are any
  type: list
  elements: dict
  sample:
    - id: 5b0c
      image: millwright/millwright:0.1.0
      name: millwright-control-1
      part: control
      running: true
      status: running
compose_file:
  description: The compose file.
  returned: when the files are kept on the target
  type: str
  sample: /opt/millwright/docker-compose.yml
env_file:
  description: The file of its variables.
  returned: when the files are kept on the target
  type: str
  sample: /opt/millwright/.env
admin_password_file:
  description: File on the target with that password, readable for its owner alone.
  returned: when the first admin's password was generated
  type: str
"""
