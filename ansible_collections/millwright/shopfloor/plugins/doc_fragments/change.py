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
  adopt:
    description:
      - Take the object over if a stack owns it. Else a difference is an error.
    type: bool
    default: false
  max_disturbance:
    description:
      - Fail, before anything is changed, if the change would disturb more than this.
    type: str
    choices:
      - none
      - endpoint
      - connection
      - container
      - service
      - instance
"""
