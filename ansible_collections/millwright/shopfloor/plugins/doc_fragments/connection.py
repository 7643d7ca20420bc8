# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Made from the schema in internal/ansible by `make generate`; do not edit.

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    DOCUMENTATION = r"""
---
options:
  api_url:
    description:
      - Address of the instance, such as C(https://gateway.example).
      - Not given, it is C(MILLWRIGHT_URL), else that of the context, else C(https://localhost).
    type: str
    aliases:
      - url
  api_username:
    description:
      - 'User to log in as, with I(api_password). A token is faster: each task with a password logs in and out.'
      - Not given, it is C(MILLWRIGHT_USERNAME).
    type: str
  api_password:
    description:
      - Password to log in with. Not given, it is C(MILLWRIGHT_PASSWORD).
    type: str
  api_token:
    description:
      - Token to send. Not given, it is C(MILLWRIGHT_TOKEN), else that of the context.
    type: str
  context:
    description:
      - Name of a context in the context file of the user that the task runs as on the target.
      - Not given, it is C(MILLWRIGHT_CONTEXT), else the only one there is; with several the task fails and lists them.
    type: str
  ca_cert:
    description:
      - Certificate authority of the instance, PEM.
    type: str
  ca_path:
    description:
      - File on the target with the certificate authority of the instance, PEM.
      - Not given, it is C(MILLWRIGHT_CA_PATH), else that of the context, else the system's authorities.
    type: path
  validate_certs:
    description:
      - Whether the instance's certificate is verified. C(false) is for tests only.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for each answer.
    type: int
    default: 30
"""
